from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import numpy as np
import pytest

from edge.detector import Detector
from edge.pipeline import HISTORY_S, Pipeline
from edge.regions import parse_region
from edge.sinks.base import Sink
from edge.sinks.controls import Controls
from edge.sources.base import Source
from edge.types import Frame, Image, Result
from edge.verdict import VerdictSettings
from tests.fakes import FakeBackend, FakeSink, FakeSource, grey

QUICK = VerdictSettings(window_s=1.0, min_evidence_s=0.1, min_frames=2)


def pipeline(source: Source, *sinks: Sink, **more: object) -> Pipeline:
    detector = Detector(FakeBackend(), parse_region("native"))
    return Pipeline(source, detector, sinks, QUICK, **more)  # type: ignore[arg-type]  # passed on


def test_every_frame_of_a_file_reaches_every_sink_in_order() -> None:
    first, second = FakeSink(), FakeSink(wants_picture=True)
    summary = pipeline(FakeSource([grey(200)] * 20), first, second).run()
    assert [r.frame.index for r in first.results] == list(range(20))
    assert [r.frame.index for r in second.results] == list(range(20))
    assert second.results[-1].verdict.state == "fake"
    assert second.results[0].verdict.state == "uncertain"
    assert (summary.frames, summary.scored) == (20, 20)
    assert summary.states == {"uncertain": 1, "fake": 19}
    assert first.closed and second.closed


def test_draws_only_when_a_sink_wants_it() -> None:
    plain = FakeSink()
    pipeline(FakeSource([grey(9)]), plain).run()
    assert plain.pictures == [None]
    assert "overlay" not in plain.results[0].timings_ms
    drawn = FakeSink(wants_picture=True)
    pipeline(FakeSource([grey(9, 240, 320)]), drawn).run()
    picture = drawn.pictures[0]
    assert picture is not None and picture.shape == (240, 320, 3)
    assert (picture != 9).any()
    assert "overlay" in drawn.results[0].timings_ms


def test_times_every_stage_and_later_sinks_see_the_time_of_earlier_ones() -> None:
    seen: list[list[str]] = []

    class Last(FakeSink):
        def write(self, result: Result, picture: Image | None) -> None:
            seen.append(list(result.timings_ms))

    pipeline(FakeSource([grey(1)]), FakeSink(), Last()).run()
    assert seen == [["capture", "region", "model", "verdict", "keep"]]


def test_a_logit_that_is_not_finite_is_an_error_and_never_real(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = FakeSink()
    detector = Detector(FakeBackend(lambda image: math.nan), parse_region("native"))
    with caplog.at_level(logging.WARNING):
        summary = Pipeline(FakeSource([grey(0)] * 5), detector, [sink], QUICK).run()
    assert {r.verdict.state for r in sink.results} == {"uncertain"}
    assert all(r.error and "not finite" in r.error for r in sink.results)
    assert summary.scored == 0 and summary.errors.total() == 5
    assert "not finite" in caplog.text


def test_stills_are_judged_alone() -> None:
    sink = FakeSink()
    pipeline(FakeSource([grey(250), grey(5), grey(250)], kind="stills"), sink).run()
    assert [r.verdict.state for r in sink.results] == ["fake", "real", "fake"]


def test_a_frame_too_small_for_the_model_is_an_error_and_the_run_goes_on() -> None:
    sink = FakeSink()
    images = [grey(250, 1, 1), grey(250)]
    summary = pipeline(FakeSource(images, kind="stills"), sink).run()
    assert sink.results[0].error is not None and "at least 5×5" in sink.results[0].error
    assert [r.verdict.state for r in sink.results] == ["uncertain", "fake"]
    assert (summary.frames, summary.scored) == (2, 1)


def test_silence_is_no_signal_with_a_placeholder_that_is_not_scored() -> None:
    sink = FakeSink()
    images = [grey(250)] * 5 + [None] + [grey(250)]
    summary = pipeline(FakeSource(images, kind="live"), sink).run()
    silent = sink.results[5]
    assert silent.verdict.state == "no_signal" and silent.verdict.score is None
    assert silent.evidence is None and silent.frame.image.shape == grey(0).shape
    assert sink.results[6].verdict.state == "uncertain"
    assert summary.frames == 6 and summary.states["no_signal"] == 1


def test_a_live_frame_is_shown_before_the_next_is_asked_for() -> None:
    order: list[str] = []

    class Live(FakeSource):
        def __iter__(self) -> Iterator[Frame | None]:
            for frame in super().__iter__():
                order.append("captured")
                yield frame

    class Shown(FakeSink):
        def write(self, result: Result, picture: Image | None) -> None:
            assert picture is not None
            order.append("shown")

    pipeline(Live([grey(0)] * 3, kind="live"), Shown(wants_picture=True)).run()
    assert order == ["captured", "shown"] * 3


def test_a_picture_of_a_recording_is_its_own_frames() -> None:
    sink = FakeSink(wants_picture=True)
    pipeline(FakeSource([grey(10 * i, 240, 320) for i in range(9)]), sink).run()
    shown = [picture[5, 300, 0] for picture in sink.pictures if picture is not None]
    assert shown == [10 * i for i in range(9)]


def test_stops_when_asked_and_after_max_frames() -> None:
    controls = Controls()

    class Stopper(FakeSink):
        def write(self, result: Result, picture: Image | None) -> None:
            super().write(result, picture)
            controls.stop = len(self.results) == 3

    sink = Stopper()
    pipeline(FakeSource([grey(0)] * 99), sink, controls=controls).run()
    assert 3 <= len(sink.results) <= 4  # one frame of a recording is on its way
    assert pipeline(FakeSource([grey(0)] * 99), max_frames=4).run().frames == 4


def test_sinks_are_finished_when_the_source_breaks() -> None:
    class Broken(FakeSource):
        def __iter__(self) -> Iterator[Frame | None]:
            yield from super().__iter__()
            raise KeyboardInterrupt

    sink = FakeSink()
    with pytest.raises(KeyboardInterrupt):
        pipeline(Broken([grey(0)] * 3), sink).run()
    assert len(sink.results) == 3 and sink.closed


def test_the_history_is_bounded_in_time() -> None:
    run = pipeline(FakeSource([grey(0)] * 400, fps=10.0))
    run.run()
    assert len(run._history) == int(HISTORY_S * 10) + 1


def test_the_frame_is_not_changed_by_drawing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    before = image.copy()
    pipeline(FakeSource([image] * 5), FakeSink(wants_picture=True)).run()
    assert np.array_equal(image, before)
