"""One result as plain data: the one place where results get the names they leave the program by."""

from __future__ import annotations

import math

from edge.types import Result


def to_record(result: Result) -> dict[str, object]:
    """A result as a JSON object, valid under the strict standard (no NaN, no Infinity).

    Returns:
        - `source`: what the frame came from.
        - `index`: position of the frame in its source, from 0.
        - `time`: when it was captured, Unix seconds to the millisecond.
        - `pts`: presentation time in seconds from the source's start; only where there is one.
        - `logit`: raw evidence, above 0 leans fake; null if there is none or it is not finite.
        - `score`: calibrated P(fake) in 0..1; null without evidence.
        - `verdict`: `real`, `fake`, `uncertain` or `no_signal`.
        - `latency_ms`: stage → milliseconds, to three decimals.
        - `age_ms`: from the frame's capture to its verdict; only of live sources.
        - `regions`: only where the frame was seen in several: `xyxy` in pixels and `logit` of each.
        - `faces`: only where faces were looked for, and empty where none was found: of each the
          square `xyxy` that the model saw, in pixels, its `track` (a number that it keeps), and
          `logit`, `score` and `verdict` as above. The frame's own are those of the face that leads:
          the highest score, one judged fake before all.
        - `error`: why a frame gave no evidence, or why no frame comes; only where that is known.
        - `fault`: what kind of failure keeps frames away: `auth`, `not_found`, `timeout`, `codec`,
          `network`, `ended` or `other`; only with `no_signal`.
    """
    frame, evidence = result.frame, result.evidence
    record: dict[str, object] = {
        "source": frame.source,
        "index": int(frame.index),
        "time": _finite(frame.captured_at, 3),
        "pts": _finite(frame.pts, 6),
        "logit": _finite(evidence.logit) if evidence else None,
        "score": _finite(result.verdict.score),
        "verdict": result.verdict.state,
        "latency_ms": {stage: _finite(ms, 3) for stage, ms in result.timings_ms.items()},
        "age_ms": _finite(result.age_ms, 1),
        "regions": _regions(result),
        "faces": _faces(result),
        "error": result.error,
        "fault": result.fault,
    }
    optional = ("pts", "age_ms", "regions", "faces", "error", "fault")
    return {key: value for key, value in record.items() if key not in optional or value is not None}


def _regions(result: Result) -> list[dict[str, object]] | None:
    if len(result.regions) < 2 or result.faces is not None:
        return None
    return [
        {"xyxy": [int(edge) for edge in region.xyxy], "logit": _finite(region.evidence.logit)}
        for region in result.regions
    ]


def _faces(result: Result) -> list[dict[str, object]] | None:
    if result.faces is None:
        return None
    return [
        {
            "xyxy": [int(edge) for edge in face.xyxy],
            "track": face.track,
            "logit": _finite(face.evidence.logit),
            "score": _finite(face.verdict.score) if face.verdict else None,
            "verdict": face.verdict.state if face.verdict else None,
        }
        for face in result.regions
    ]


def _finite(value: float | None, digits: int | None = None) -> float | None:
    """A built-in float (numpy's are no JSON), or None where there is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    return float(value) if digits is None else round(float(value), digits)
