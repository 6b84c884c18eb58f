"""An hour of a stream in a second: buffer and scheduler, with a clock that is steered."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from edge.live.scheduler import Scheduler
from edge.sources.base import Shot
from edge.sources.latest import LatestFrameBuffer
from tests.fakes import grey

HOUR_S = 3600.0
INFERENCE_S = 0.333
JITTER_S = 0.02
UNIX_S = 1_000_000.0
MAX_AGE_S = 1.0


@dataclass(slots=True)
class Stream:
    """One camera: when its frames were captured, when they arrive, and what was scored.

    Every `stall[0]` seconds frames are held up for `stall[1]` seconds, and come at once then.
    """

    fps: float
    first_s: float = 0.0
    stall: tuple[float, float] | None = None
    seed: int = 0
    buffer: LatestFrameBuffer = field(default_factory=lambda: LatestFrameBuffer(MAX_AGE_S))
    ages_s: list[float] = field(default_factory=list)
    reported_s: list[float] = field(default_factory=list)
    counted: int = 0

    def arrivals(self) -> Iterator[tuple[float, float]]:
        """Arrival and capture of each frame, in seconds; arrivals never fall."""
        jitter = random.Random(self.seed)
        last_s = 0.0
        for index in range(round(HOUR_S * self.fps)):
            captured_s = self.first_s + index / self.fps
            last_s = max(last_s, self._held_up(captured_s) + jitter.uniform(0, JITTER_S))
            yield last_s, captured_s

    def _held_up(self, at_s: float) -> float:
        if self.stall is None:
            return at_s
        every_s, for_s = self.stall
        into_s = at_s % every_s
        return at_s - into_s + for_s if into_s < for_s and at_s >= every_s else at_s

    def score(self, done_s: float) -> None:
        """The newest frame gets its verdict at `done_s`."""
        taken = self.buffer.take()
        assert taken is not None and taken.shot.pts_s is not None
        self.ages_s.append(done_s - taken.shot.pts_s)
        self.reported_s.append(UNIX_S + done_s - taken.captured_at)


def run(streams: dict[str, Stream], inference_s: float = INFERENCE_S) -> None:
    """One model for all of them, which is never idle while a frame waits."""
    merged = heapq.merge(
        *([(*times, name) for times in stream.arrivals()] for name, stream in streams.items())
    )
    scheduler = Scheduler()
    free_s = 0.0
    for arrived_s, captured_s, name in merged:
        while (
            free_s <= arrived_s
            and (free := _next(streams, scheduler, free_s, inference_s)) is not None
        ):
            free_s = free
        free_s = max(free_s, arrived_s)
        shot = Shot(arrived_s, captured_s, lambda: grey(0, 4, 4))
        streams[name].buffer.put(shot, UNIX_S + arrived_s)


def _next(
    streams: dict[str, Stream], scheduler: Scheduler, now_s: float, inference_s: float
) -> float | None:
    """Score one frame from `now_s` on; when it was done, or None if none waits."""
    ready = [name for name, stream in streams.items() if stream.buffer.waiting is not None]
    if not ready:
        return None
    for name, stream in streams.items():
        scheduler.arrived(name, stream.buffer.received - stream.counted, now_s)
        stream.counted = stream.buffer.received
    (chosen,) = scheduler.choose(ready, 1, now_s)
    streams[chosen].score(now_s + inference_s)
    return now_s + inference_s


def test_what_is_scored_is_never_older_than_two_inferences_and_its_age_is_true() -> None:
    stream = Stream(30.0)
    run({"door": stream})
    assert len(stream.ages_s) > HOUR_S / INFERENCE_S * 0.97
    assert max(stream.ages_s) < 2 * INFERENCE_S
    assert stream.buffer.received == round(HOUR_S * 30)
    assert stream.buffer.skipped + len(stream.ages_s) + 1 >= stream.buffer.received
    off = np.abs(np.subtract(stream.reported_s, stream.ages_s))
    assert off.max() < JITTER_S + 0.005


def test_what_was_held_up_is_passed_over() -> None:
    stream = Stream(30.0, stall=(300.0, 10.0))
    run({"door": stream})
    assert stream.buffer.old > 11 * 8 * 30  # of each stall all but the last second, more or less
    assert np.percentile(stream.ages_s, 99) < 2 * INFERENCE_S
    assert max(stream.ages_s) < MAX_AGE_S + 2 * INFERENCE_S


@pytest.mark.parametrize(
    ("rates", "inference_s"),
    [
        # So slow a model sees each camera once in a second or so, and nothing is left to share.
        ((30.0, 30.0, 30.0), INFERENCE_S),
        ((30.0, 5.0, 15.0), 0.04),
    ],
)
def test_cameras_skip_the_same_share(rates: tuple[float, ...], inference_s: float) -> None:
    streams = {f"camera {i}": Stream(fps, i / 7, seed=i) for i, fps in enumerate(rates)}
    run(streams, inference_s)
    scored = [len(stream.ages_s) / stream.buffer.received for stream in streams.values()]
    assert max(scored) - min(scored) < 0.1 * max(scored)
    assert sum(len(stream.ages_s) for stream in streams.values()) > HOUR_S / inference_s * 0.97
