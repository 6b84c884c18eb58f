"""How old a frame is at its verdict, by the number in the picture and the cameras' clock."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, field
from types import TracebackType

from typing_extensions import Self

from benchmarks.end_to_end.stamp import read_stamp
from edge.types import Picture, Result


@dataclass(frozen=True, slots=True)
class CameraClock:
    """When a camera showed which picture of its film.

    Attributes:
        fps: pictures per second.
        zero_s: when picture 0 was due, on the clock of `time.monotonic`.
        pictures: of the film, which starts over.
        offset: place in the film of picture 0.
    """

    fps: float
    zero_s: float
    pictures: int
    offset: int = 0

    def age_s(self, place: int, at_s: float) -> float:
        """How old at `at_s` the picture at `place` of the film was, at its last showing before."""
        elapsed = (at_s - self.zero_s) * self.fps
        return (elapsed - place + self.offset) % self.pictures / self.fps


@dataclass(slots=True)
class Watch:
    """A sink that keeps how old each frame was at its verdict; eight bytes for each.

    Attributes:
        clock: of the camera.
        ages_ms: true ages, from when the camera showed a picture to the verdict on it.
        told_ms: ages as the program has them.
        scored: frames that gave evidence.
        unreadable: of them, those whose number could not be read.
        silent: results that said `no_signal`.
        last_s: when the newest frame was scored, on the clock of `time.monotonic`.
    """

    clock: CameraClock
    ages_ms: array[float] = field(default_factory=lambda: array("f"))
    told_ms: array[float] = field(default_factory=lambda: array("f"))
    scored: int = 0
    unreadable: int = 0
    silent: int = 0
    last_s: float | None = None
    name: str = "watch"
    wants_picture: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, result: Result, picture: Picture) -> None:
        """Note one result."""
        if result.evidence is None or result.age_ms is None:
            self.silent += 1
            return
        self.scored += 1
        # This is called some time after the verdict, on another thread.
        since_s = time.time() - result.frame.captured_at - result.age_ms / 1e3
        self.last_s = time.monotonic() - since_s
        place = read_stamp(result.frame.image)
        if place is None or place >= self.clock.pictures:
            self.unreadable += 1
            return
        self.ages_ms.append(1e3 * self.clock.age_s(place, self.last_s))
        self.told_ms.append(result.age_ms)
