"""Evidence of unchanged pictures, through detector and pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edge.decision.verdict import VerdictSettings
from edge.detector import Detector, Stopwatch, finish_jobs
from edge.pipeline import Pipeline
from edge.record import to_record
from edge.regions import cut, parse_region
from edge.reuse import Reuse, blocks, same_pixels
from edge.types import Frame, Image, PixelFormat
from tests.fakes import FakeBackend, FakeSink, FakeSource, grey, mean_minus_grey


def asked(
    images: Sequence[Image],
    region: str = "native",
    reuse: Reuse | None = Reuse(),  # noqa: B008  # it is frozen
    fps: float = 10.0,
    pixel_format: PixelFormat = "bgr",
) -> list[bool]:
    """Of which frames of a source the model was asked."""
    backend = FakeBackend()
    detector = Detector(backend, parse_region(region), reuse=reuse)
    seen = []
    for index, image in enumerate(images):
        frame = Frame(image, index, 0.0, "fake", index / fps, pixel_format)
        before = len(backend.batches)
        job = detector.start(frame, Stopwatch())
        ((found,),) = finish_jobs([job])
        assert job.unchanged is ("model" not in job.watch.timings_ms)
        if pixel_format == "bgr" and reuse == Reuse():
            expected = mean_minus_grey(cut(image, detector.region)[0].image)
            # Of the same pixels, wherever else the frame has changed.
            assert found.evidence.logit == pytest.approx(expected)
        seen.append(len(backend.batches) > before)
    return seen


def changed(image: Image, row: int, column: int, by: int = 1) -> Image:
    copy = image.copy()
    copy[row, column] += by
    return copy


def test_the_model_is_asked_again_within_one_frame_of_any_change() -> None:
    image = grey(100, 300, 40)
    for row, column in ((0, 0), (150, 39), (299, 1)):
        other = changed(image, row, column)
        frames = [image, image.copy(), other, other.copy(), image]
        assert asked(frames) == [True, False, True, False, True]
    assert asked([image, image], reuse=None) == [True, True]


def test_only_what_the_model_sees_counts() -> None:
    image = grey(100, 64, 64)
    frames = [image, changed(image, 0, 0), changed(image, 30, 30)]
    assert asked(frames, "center:32") == [True, False, True]
    assert asked(frames, "fit:32") == [True, True, True]
    half = np.full((96, 64), 100, np.uint8)
    assert asked([half, half.copy()], "center:32", pixel_format="nv12") == [True, False]


def test_another_size_or_a_restart_is_another_picture() -> None:
    assert asked([grey(1, 32, 32), grey(1, 32, 48)]) == [True, True]
    backend = FakeBackend()
    detector = Detector(backend, parse_region("native"), reuse=Reuse())
    for _ in range(2):
        detector.detect(grey(1), Stopwatch())
    assert len(backend.batches) == 2


def test_a_small_change_keeps_evidence_for_a_time() -> None:
    rng = np.random.default_rng(0)
    noisy = [(100 + rng.normal(0, 4, (64, 64, 3))).astype(np.uint8) for _ in range(12)]
    found = asked(noisy, reuse=Reuse(max_change=3.0, longest_s=0.5))
    assert found == [index % 5 == 0 for index in range(12)]
    moved = noisy[1].copy()
    moved[:16, :16] += 40
    assert asked([noisy[0], moved], reuse=Reuse(max_change=3.0, longest_s=9.0)) == [True, True]
    # Little by little it is another picture: each is compared with the one that the model saw.
    slow = [grey(100 + level, 32, 32) for level in range(6)]
    assert asked(slow, reuse=Reuse(2.0, 9.0)) == [True, False, False, True, False, False]


def test_changes_are_measured_in_levels() -> None:
    assert same_pixels(grey(5), grey(5)) and not same_pixels(grey(5), grey(6))
    assert blocks(grey(5, 50, 70)).shape == (4, 5, 3) and (blocks(grey(9, 50, 70)) == 9).all()


def test_a_still_recording_has_the_verdicts_that_it_had_and_says_what_was_kept() -> None:
    images = [grey(200)] * 8 + [grey(20)] * 4

    def run(reuse: Reuse | None) -> tuple[FakeSink, Pipeline, FakeBackend]:
        sink, backend = FakeSink(), FakeBackend()
        detector = Detector(backend, parse_region("native"), reuse=reuse)
        pipeline = Pipeline(FakeSource(images), detector, [sink], VerdictSettings())
        pipeline.run()
        return sink, pipeline, backend

    (kept, pipeline, backend), (plain, _, _) = run(Reuse()), run(None)
    assert len(backend.batches) == 2
    assert (pipeline.summary.scored, pipeline.summary.unchanged) == (12, 10)
    records = [to_record(replace(result, timings_ms={})) for result in kept.results]
    said = [record.pop("unchanged", None) for record in records]
    assert said == [None, *[True] * 7, None, *[True] * 3]
    assert records == [to_record(replace(result, timings_ms={})) for result in plain.results]
