from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from edge.decision.alerts import AlertSettings
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.errors import SourceError
from edge.live.views import Controls
from edge.pace import Pacer
from edge.pipeline import Pipeline
from edge.regions import parse_region
from edge.sinks.base import Sink
from edge.sinks.events import EventsSink
from edge.sources.base import Source
from edge.types import Frame, Image, Picture, Result
from tests.fakes import FakeBackend, FakeSink, FakeSource, FakeView, barred, grey

QUICK = VerdictSettings(window_s=1.0, min_evidence_s=0.1, min_frames=2)


def pipeline(
    source: Source, *sinks: Sink, backend: FakeBackend | None = None, **more: object
) -> Pipeline:
    detector = Detector(backend or FakeBackend(), parse_region("native"))
    return Pipeline(source, detector, sinks, QUICK, **more)  # type: ignore[arg-type]  # passed on


def test_every_frame_of_a_file_reaches_every_sink_in_order() -> None:
    first, second = FakeSink(), FakeSink(wants_picture=True)
    summary = pipeline(FakeSource([barred(200)] * 20), first, second).run()
    assert [r.frame.index for r in first.results] == list(range(20))
    assert [r.frame.index for r in second.results] == list(range(20))
    assert second.results[-1].verdict.state == "fake"
    assert second.results[0].verdict.state == "uncertain"
    assert (summary.frames, summary.scored) == (20, 20)
    assert summary.states == {"uncertain": 1, "fake": 19}
    assert first.closed and second.closed


def test_frames_that_come_too_late_to_be_shown_are_counted_and_not_judged() -> None:
    seconds = (0.25 * reading for reading in count())
    shown = FakeSink()
    pacer = Pacer(lambda: next(seconds), lambda ahead: None, skips=True)
    summary = pipeline(FakeSource([barred(200)] * 40), shown, pacer=pacer).run()
    indices = [result.frame.index for result in shown.results]
    assert indices == sorted(set(indices)) and summary.frames == len(indices)
    assert 0 < summary.late == 40 - len(indices)


def test_a_frame_every_two_seconds_is_judged_and_raises_an_event(tmp_path: Path) -> None:
    events = EventsSink(tmp_path, AlertSettings(), snapshot=False)
    detector = Detector(FakeBackend(), parse_region("native"))
    source = FakeSource([barred(200)] * 8, fps=0.5)
    summary = Pipeline(source, detector, [events], VerdictSettings()).run()
    assert summary.states == {"uncertain": 2, "fake": 6}
    assert len(list(tmp_path.glob("*_fake.json"))) == 1


def test_draws_each_frame_on_a_copy_and_only_when_a_sink_wants_it() -> None:
    plain = FakeSink()
    pipeline(FakeSource([barred(9)]), plain).run()
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

    pipeline(FakeSource([barred(1)]), FakeSink(), Last()).run()
    assert seen == [["capture", "region", "model", "verdict", "keep"]]


def test_a_logit_that_is_not_finite_is_an_error_and_never_real(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = FakeSink()
    backend = FakeBackend(lambda image: math.nan)
    with caplog.at_level(logging.WARNING):
        summary = pipeline(FakeSource([barred(0)] * 5), sink, backend=backend).run()
    assert {r.verdict.state for r in sink.results} == {"uncertain"}
    assert all(r.error and "not finite" in r.error for r in sink.results)
    assert summary.scored == 0 and summary.errors.total() == 5
    assert "not finite" in caplog.text


def test_stills_are_judged_alone() -> None:
    sink = FakeSink()
    pipeline(FakeSource([barred(250), barred(5), barred(250)], kind="stills"), sink).run()
    assert [r.verdict.state for r in sink.results] == ["fake", "real", "fake"]


def test_a_frame_too_small_for_the_model_is_an_error_and_the_run_goes_on() -> None:
    sink = FakeSink()
    images = [barred(250, 1, 1), barred(250)]
    summary = pipeline(FakeSource(images, kind="stills"), sink).run()
    assert sink.results[0].error is not None and "at least 5×5" in sink.results[0].error
    assert [r.verdict.state for r in sink.results] == ["uncertain", "fake"]
    assert (summary.frames, summary.scored) == (2, 1)


def test_a_view_learns_of_every_result_before_the_sinks_and_ticks_in_between() -> None:
    view, sink = FakeView(), FakeSink()
    pipeline(FakeSource([barred(9)] * 5), sink, views=[view]).run()
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
    pipeline(FakeSource([barred(0)] * 99), sink, controls=controls).run()
    assert 3 <= len(sink.results) <= 5  # two frames of a recording are on their way
    assert pipeline(FakeSource([barred(0)] * 99), max_frames=4).run().frames == 4


def test_a_recordings_next_frame_is_fetched_while_the_model_works() -> None:
    fetched = threading.Semaphore(0)

    class Source(FakeSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                if frame.index:  # the one after each that the model sees
                    fetched.release()
                yield frame
            fetched.release()

    def look(image: Image) -> float:
        assert fetched.acquire(timeout=120), "the next frame was not fetched meanwhile"
        return 72.0

    sink = FakeSink()
    pipeline(Source([barred(200)] * 3), sink, backend=FakeBackend(look)).run()
    assert [r.frame.index for r in sink.results] == [0, 1, 2]
    assert list(sink.results[0].timings_ms) == ["capture", "region", "model", "verdict", "keep"]


@pytest.mark.parametrize("error", [SourceError("torn"), KeyboardInterrupt()], ids=repr)
def test_what_was_taken_is_answered_and_sinks_are_finished_when_the_source_breaks(
    error: BaseException,
) -> None:
    class Breaks(FakeSource):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            raise error

    sink, backend = FakeSink(), FakeBackend()
    with pytest.raises(type(error)):
        pipeline(Breaks([barred(200)] * 3), sink, backend=backend).run()
    assert [r.frame.index for r in sink.results] == [0, 1, 2] and sink.closed


def test_nv12_is_scored_and_drawn_like_the_picture_it_holds() -> None:
    backend = FakeBackend()
    nv12 = np.full((48 * 3 // 2, 64), 128, np.uint8)
    nv12[:48] = barred(219, 48, 64)[..., 0]  # all but white

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
