from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from edge.backends.base import Pending
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.errors import SourceError
from edge.live.views import Controls
from edge.pipeline import Pipeline
from edge.pixels import to_bgr
from edge.regions import RegionSpec, parse_region
from edge.sinks.base import Sink
from edge.sources.base import Source
from edge.types import Evidence, Frame, Image, Picture, PixelFormat, Result
from tests.fakes import FakeBackend, FakeSink, FakeSource, FakeView, grey

QUICK = VerdictSettings(window_s=1.0, min_evidence_s=0.1, min_frames=2)


def pipeline(
    source: Source, *sinks: Sink, backend: FakeBackend | None = None, **more: object
) -> Pipeline:
    detector = Detector(backend or FakeBackend(), parse_region("native"))
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


def test_draws_each_frame_on_a_copy_and_only_when_a_sink_wants_it() -> None:
    plain = FakeSink()
    pipeline(FakeSource([grey(9)]), plain).run()
    assert plain.pictures == [None]
    assert "overlay" not in plain.results[0].timings_ms
    drawn, images = FakeSink(wants_picture=True), [grey(10 * i, 240, 320) for i in range(9)]
    pipeline(FakeSource(images), drawn).run()
    assert "overlay" in drawn.results[0].timings_ms
    for value, image, picture in zip(range(0, 90, 10), images, drawn.pictures, strict=True):
        assert picture is not None and picture.shape == (240, 320, 3)
        assert picture[5, 300, 0] == value and (picture != value).any()
        assert (image == value).all()


def test_times_every_stage_and_later_sinks_see_the_time_of_earlier_ones() -> None:
    seen: list[list[str]] = []

    class Last(FakeSink):
        def write(self, result: Result, picture: Picture) -> None:
            seen.append(list(result.timings_ms))

    pipeline(FakeSource([grey(1)]), FakeSink(), Last()).run()
    assert seen == [["capture", "region", "model", "verdict", "keep"]]


def test_a_logit_that_is_not_finite_is_an_error_and_never_real(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = FakeSink()
    backend = FakeBackend(lambda image: math.nan)
    with caplog.at_level(logging.WARNING):
        summary = pipeline(FakeSource([grey(0)] * 5), sink, backend=backend).run()
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


def test_a_view_learns_of_every_result_before_the_sinks_and_ticks_in_between() -> None:
    view, sink = FakeView(), FakeSink()
    pipeline(FakeSource([grey(9)] * 5), sink, views=[view]).run()
    assert view.names == [["fake source"]]
    assert [result for _, result in view.results] == sink.results
    assert view.threads == {threading.current_thread()}
    assert list(sink.results[0].timings_ms)[-2:] == ["watch", "keep"]


def test_stops_when_asked_and_after_max_frames() -> None:
    controls = Controls()

    class Stopper(FakeSink):
        def write(self, result: Result, picture: Picture) -> None:
            super().write(result, picture)
            controls.stop = len(self.results) == 3

    sink = Stopper()
    pipeline(FakeSource([grey(0)] * 99), sink, controls=controls).run()
    assert 3 <= len(sink.results) <= 4  # one frame of a recording is on its way
    assert pipeline(FakeSource([grey(0)] * 99), max_frames=4).run().frames == 4


class AheadBackend(FakeBackend):
    """Takes frames as a GPU's backend does, and notes when each was taken and when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def submit(
        self,
        image: Image,
        pixel_format: PixelFormat,
        region: RegionSpec,
        source: str | None = None,
    ) -> Pending:
        number = len([text for text in self.seen if text.startswith("take")])
        self.seen.append(f"take {number}")
        part: Future[list[Evidence]] = Future()
        backend = self

        class Answer(Future[list[Evidence]]):
            def result(self, timeout: float | None = None) -> list[Evidence]:
                backend.seen.append(f"ask {number}")
                return part.result(timeout)

        part.set_result(self.infer(to_bgr(image, pixel_format)[None]))
        height, width = to_bgr(image, pixel_format).shape[:2]
        return Pending([(0, 0, width, height)], (height, width), [Answer()])


def test_a_recordings_next_frame_is_taken_in_while_the_backend_works() -> None:
    backend, sink = AheadBackend(), FakeSink()
    pipeline(FakeSource([grey(200)] * 3), sink, backend=backend).run()
    assert backend.seen == ["take 0", "take 1", "ask 0", "take 2", "ask 1", "ask 2"]
    assert [r.frame.index for r in sink.results] == [0, 1, 2]
    assert list(sink.results[0].timings_ms) == ["capture", "region", "model", "verdict", "keep"]


def test_frames_taken_ahead_are_no_more_than_were_asked_for() -> None:
    backend, sink = AheadBackend(), FakeSink()
    pipeline(FakeSource([grey(200)] * 9), sink, backend=backend, max_frames=2).run()
    assert len(sink.results) == 2
    assert backend.seen == ["take 0", "take 1", "ask 0", "ask 1"]


@pytest.mark.parametrize("error", [SourceError("torn"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("ahead", [False, True])
def test_what_was_taken_is_answered_and_sinks_are_finished_when_the_source_breaks(
    error: BaseException, ahead: bool
) -> None:
    class Breaks(FakeSource):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            raise error

    sink, backend = FakeSink(), AheadBackend() if ahead else FakeBackend()
    with pytest.raises(type(error)):
        pipeline(Breaks([grey(200)] * 3), sink, backend=backend).run()
    assert [r.frame.index for r in sink.results] == [0, 1, 2] and sink.closed


@pytest.mark.parametrize("backend", [FakeBackend(), AheadBackend()], ids=["plain", "ahead"])
def test_nv12_is_scored_and_drawn_like_the_picture_it_holds(backend: FakeBackend) -> None:
    nv12 = np.full((48 * 3 // 2, 64), 128, np.uint8)
    nv12[:48] = 219  # all but white

    class Nv12(FakeSource):
        def __iter__(self) -> Iterator[Frame]:
            yield Frame(nv12, 0, 1.0, self.name, 0.0, "nv12")
            yield Frame(nv12, 1, 1.1, self.name, 0.1, "nv12")

    sink = FakeSink(wants_picture=True)
    pipeline(Nv12([]), sink, backend=backend).run()
    (first, second), picture = sink.results, sink.pictures[1]
    assert first.evidence is not None and first.evidence.logit == pytest.approx(108, abs=1)
    assert second.verdict.state == "fake"
    assert first.frame.size_hw == (48, 64)
    assert first.regions[0].xyxy == (0, 0, 64, 48)
    assert picture is not None and picture.shape == (48, 64, 3)


def test_nv12_of_an_odd_side_is_a_frame_without_evidence() -> None:
    class Nv12(FakeSource):
        def __iter__(self) -> Iterator[Frame]:
            yield Frame(np.zeros((72, 63), np.uint8), 0, 1.0, self.name, 0.0, "nv12")

    sink = FakeSink()
    pipeline(Nv12([]), sink).run()
    assert "even height and width" in (sink.results[0].error or "")
