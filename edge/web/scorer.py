"""Scores what is uploaded, one file at a time, with a detector of its own."""

from __future__ import annotations

import base64
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

from edge.api import Patchwatch
from edge.config import RunConfig, override
from edge.errors import SourceError
from edge.overlay.heat import heats_of
from edge.overlay.painter import scaled
from edge.overlay.style import Hud
from edge.pipeline import Pipeline
from edge.sinks.base import Sink
from edge.sources.base import SourceKind
from edge.types import Frame, Image, Picture, Result
from edge.web.decode import Limits
from edge.web.hub import encode_jpeg

SHOWN = 1280
"""Longest side in pixels of the pictures that are sent back."""

_EVERY_FRAME = 1e6
_LONGEST_LINE = 1 << 20
_CUT = "it cannot be decoded: that takes too long, or too much memory."


class Scorer:
    """A detector that is opened with the first upload, on a thread of its own; a context manager.

    Args:
        config: of the run: model, region, faces and threshold.
        alone: whether nothing else runs, so that all CPUs may be used.
        limits: of an upload.
    """

    def __init__(
        self, config: RunConfig, alone: bool = False, limits: Limits | None = None
    ) -> None:
        keys: dict[str, object] = {"faces.rate": _EVERY_FRAME}
        if not alone:
            keys["backend.threads"] = 1
            if config.backend.name == "tensorrt" and not config.model.endswith(".engine"):
                keys["backend.name"] = "onnxruntime"
        self._config = override(config, keys)
        self._limits = limits or Limits()
        self._opened: Patchwatch | None = None
        self._thread = ThreadPoolExecutor(1, "patchwatch-web-score")
        self._starting = threading.Lock()
        self._decoder: subprocess.Popen[bytes] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> Patchwatch:
        """The detector; opened at the first call. Raises a PatchwatchError where it cannot be."""
        if self._opened is None:
            self._opened = Patchwatch(self._config)
        return self._opened

    def close(self) -> None:
        """End the decoder and the thread, and release the model; may be called twice."""
        with self._starting:
            self._closed = True
            if self._decoder is not None:
                self._decoder.kill()
        self._thread.shutdown(cancel_futures=True)
        if self._opened is not None:
            self._opened.close()

    def use(self, model: Path) -> None:
        """Judge what is submitted from now on by another model file, opened when it is needed."""
        self._thread.submit(self._replace, model)

    def _replace(self, model: Path) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None
        self._config = self._config.model_copy(update={"model": str(model)})

    def submit(self, path: Path) -> Future[dict[str, Any]]:
        """The verdict on a picture or a clip, as a JSON object, with pictures to be shown.

        It ends with a SourceError where it cannot be decoded, or not within the bounds, with a
        RegionError where it does not fit the model; another PatchwatchError is no fault of it.
        """
        return self._thread.submit(self._score, path)

    def _score(self, path: Path) -> dict[str, Any]:
        with self._decoding(path) as source:
            judged = self._picture(source) if source.kind == "stills" else self._clip(source)
            return {**judged, "claims": source.claims}

    @contextmanager
    def _decoding(self, path: Path) -> Iterator[_Decoded]:
        """Start the decoder, and end it in any case."""
        limits, trust = json.dumps(asdict(self._limits)), self._config.provenance.trust
        command = [sys.executable, "-m", "edge.web.decode", str(path), limits]
        command += [] if trust is None else [str(trust)]
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
        with self._starting:
            if self._closed:
                raise SourceError("the page is about to end.")
            self._decoder = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **dict.fromkeys(threads, "1")},
            )
        with self._decoder as decoder:
            try:
                yield _Decoded(decoder, self._limits.wait_s)
            finally:
                decoder.kill()

    def _picture(self, source: _Decoded) -> dict[str, Any]:
        frame = next(iter(source))
        result = self.open().judge(frame)
        verdict = result.verdict
        return self._record("picture", verdict.state, verdict.score, verdict.reason, result)

    def _clip(self, source: _Decoded) -> dict[str, Any]:
        patchwatch, worst = self.open(), _Worst()
        detector, settings = patchwatch.detector, self._config.verdict
        detector.restart()
        pipeline = Pipeline(source, detector, [worst], settings, calibration=patchwatch.calibration)
        recording = pipeline.run().recording
        judged = recording.judge() if recording is not None else None
        if worst.result is None or judged is None:
            raise SourceError(next(iter(pipeline.summary.errors), "no picture of it was scored."))
        reasons = pipeline.summary.reasons.most_common(1)
        reason = reasons[0][0] if reasons and judged.verdict == "fake" else None
        record = self._record("clip", judged.verdict, judged.score, reason, worst.result)
        return record | {
            "seconds": round(judged.seconds, 2),
            "fake_share": round(judged.fake_share, 4),
            "stretches": [
                {"begin_s": round(s.begin_s, 2), "end_s": round(s.end_s, 2), "score": s.score}
                for s in judged.stretches
            ],
        }

    def _record(
        self, kind: str, state: str, score: float | None, reason: str | None, result: Result
    ) -> dict[str, Any]:
        height, width = result.frame.shown_hw
        return {
            "kind": kind,
            "verdict": state,
            "score": None if score is None else round(float(score), 4),
            "threshold": self.open().calibration.threshold,
            "reason": reason,
            "model": self.open().manifest.name,
            "width": width,
            "height": height,
            **self._pictures(result),
        }

    def _pictures(self, result: Result) -> Mapping[str, str]:
        height, width = result.frame.shown_hw
        part = min(1.0, SHOWN / max(height, width))
        shown = scaled(result, max(1, round(height * part)), max(1, round(width * part)))
        hud = Hud(self.open().manifest.patches, self.open().calibration)
        plain, heated = shown.frame.image, shown.frame.image.copy()
        if min(heated.shape[:2]) >= 16:
            for heat in heats_of(shown, hud):
                heat.draw(heated)
        return {"plain": _data_url(plain), "heat": _data_url(heated)}


def _data_url(image: Image) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image)).decode()


class _Worst(Sink):
    """A sink that keeps the picture with the highest score."""

    name = "worst"

    def __init__(self) -> None:
        self.result: Result | None = None
        self._score = -1.0

    def write(self, result: Result, picture: Picture) -> None:
        """Keep it where it is the worst so far."""
        score = result.verdict.score
        if self.result is None or (score is not None and score > self._score):
            self.result, self._score = result, -1.0 if score is None else score


class _Decoded:
    """A recording that another process decodes: a `Source`."""

    def __init__(self, decoder: subprocess.Popen[bytes], wait_s: float) -> None:
        self._decoder, self._wait_s = decoder, wait_s
        head, _ = self._next()
        self.name = "the upload"
        self.kind: SourceKind = "stills" if head["kind"] == "stills" else "file"
        self.fps: float | None = head["fps"]
        self.length: int | None = head["length"]
        self.claims: list[dict[str, str]] = head["claims"]
        self.failures: list[str] = []
        self.damaged = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while "end" not in (found := self._next())[0]:
            record, data = found
            image = np.frombuffer(data, np.uint8).reshape(*record["hw"], 3)
            frame = Frame(image, index, time.time(), self.name, record["pts"])
            yield replace(frame, pixel_aspect=record["aspect"])
            index += 1

    def _next(self) -> tuple[dict[str, Any], bytes]:
        """The next record with its pixels; raises a SourceError where the decoder gave up or died.

        The decoder's time alone is limited: it also waits for the model.
        """
        lines = self._decoder.stdout
        assert lines is not None
        deadline = threading.Timer(self._wait_s, self._decoder.kill)
        deadline.start()
        try:
            line = lines.readline(_LONGEST_LINE)
            record: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"error": _CUT}
            size = 3 * math.prod(record["hw"]) if "hw" in record else 0
            data = lines.read(size)
        finally:
            deadline.cancel()
        if "error" in record or len(data) < size:
            raise SourceError(record.get("error", _CUT))
        return record, data
