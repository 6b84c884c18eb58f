"""One result as plain data: the one place where results get the names they leave the program by."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from edge.types import Result, Verdict

if TYPE_CHECKING:
    from edge.provenance import Provenance


def to_record(result: Result) -> dict[str, object]:
    """A result as a JSON object, valid under the strict standard (no NaN, no Infinity).

    Returns:
        - `source`: what the frame came from.
        - `index`: position of the frame in its source, from 0.
        - `time`: when it was captured, Unix seconds to the millisecond.
        - `pts`: presentation time in seconds from the source's start; only where there is one.
        - `logit`: raw evidence, above 0 leans fake, of the picture; of the face that leads where
          faces alone are judged. Null if there is none or it is not finite.
        - `score`: calibrated P(fake) in 0..1; null without evidence.
        - `verdict`: `real`, `fake`, `uncertain` or `no_signal`; where picture and faces are judged,
          `fake` where either is, else the picture's; the score is the highest that goes with it.
        - `reason`: what looks fake or is unclear, in words; only where there is something to say.
        - `picture`: `score` and `verdict` of the picture alone; only where faces are judged too.
        - `latency_ms`: stage → milliseconds, to three decimals.
        - `age_ms`: from the frame's capture to its verdict; only of live sources.
        - `regions`: only where the frame was seen in several: `xyxy` in pixels and `logit` of each.
        - `faces`: only where faces are judged, and empty where there is none: of each the square
          `xyxy` that the model saw, in pixels, upright and cut at the frame's edge, its `track` (a
          number that it keeps), and `logit`, `score` and `verdict` as above. The leading one is
          that with the highest score, one judged fake before all.
        - `unchanged`: true where the picture has not changed since the model last saw one, and the
          evidence is that one's; else absent. `latency_ms` has no `model` then.
        - `provenance`: what the file says of itself, with its first frame only, and empty where it
          says nothing: of each claim `kind`, `value`, `where` it stands and its `surety`
          (`trusted`, `unknown_signer`, `broken`, `unsigned` or `observed`).
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
        "reason": result.verdict.reason,
        "picture": _scored(result.picture) if result.picture else None,
        "latency_ms": {stage: _finite(ms, 3) for stage, ms in result.timings_ms.items()},
        "age_ms": _finite(result.age_ms, 1),
        "regions": _regions(result),
        "faces": _faces(result),
        "unchanged": True if result.unchanged else None,
        "provenance": claim_records(result.provenance),
        "error": result.error,
        "fault": result.fault,
    }
    optional = {"pts", "reason", "picture", "age_ms", "regions", "faces"}
    optional |= {"unchanged", "provenance", "error", "fault"}
    return {key: value for key, value in record.items() if key not in optional or value is not None}


def claim_records(provenance: Provenance | None) -> list[dict[str, str]] | None:
    """The claims of a file as JSON objects; None where they were not read."""
    return None if provenance is None else [asdict(claim) for claim in provenance.claims]


def _regions(result: Result) -> list[dict[str, object]] | None:
    parts = [region for region in result.regions if region.track is None]
    if len(parts) < 2:
        return None
    return [
        {"xyxy": [int(edge) for edge in region.xyxy], "logit": _finite(region.evidence.logit)}
        for region in parts
    ]


def _faces(result: Result) -> list[dict[str, object]] | None:
    if result.faces is None:
        return None
    return [
        {
            "xyxy": [int(edge) for edge in face.xyxy],
            "track": face.track,
            "logit": _finite(face.evidence.logit),
            **_scored(face.verdict),
        }
        for face in result.regions
        if face.track is not None
    ]


def _scored(verdict: Verdict | None) -> dict[str, object]:
    return {
        "score": _finite(verdict.score) if verdict else None,
        "verdict": verdict.state if verdict else None,
    }


def _finite(value: float | None, digits: int | None = None) -> float | None:
    """A built-in float (numpy's are no JSON), or None where there is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    return float(value) if digits is None else round(float(value), digits)
