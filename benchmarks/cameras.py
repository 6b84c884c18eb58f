"""Cameras as processes, the trouble that they may be given, and how old what they show is."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import Self

from benchmarks.film import PICTURES, read_stamp
from edge.sinks.base import Sink
from edge.types import Picture, Result

_CAMERA = "benchmarks.camera"
_REST_S = (4.0, 12.0)
_DOWN_S = (0.2, 6.0)
_FROZEN_S = (1.0, 12.0)


@dataclass(eq=False)
class CameraProcess:
    """One camera in a process of its own; a context manager that starts and ends it.

    It shows a film from picture `offset` on, which is due at `zero_s` on the clock of
    `time.monotonic`. Its address is the same after each start.
    """

    film: Path
    fps: float
    zero_s: float
    offset: int = 0
    address: str = ""
    _port: int = 0
    _process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; returns when it listens.
        Raises RuntimeError: it ended before that.
        """
        command = [sys.executable, "-m", _CAMERA, str(self.film), "--port", str(self._port)]
        command += ["--zero", repr(self.zero_s), "--fps", f"{self.fps:g}"]
        command += ["--offset", str(self.offset)]
        # A session of its own: Ctrl-C is for the one who watches, who still needs the camera.
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError("a camera ended before it served.")
        self._port = int(self.address.rsplit(":", 1)[1].partition("/")[0])

    def kill(self) -> None:
        """End it at once, also a frozen one."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()

    def age_s(self, place: int, at_s: float) -> float:
        """How old at `at_s` the picture at `place` of the film was, at its last showing before."""
        elapsed = (at_s - self.zero_s) * self.fps
        return (elapsed - place + self.offset) % PICTURES / self.fps

    def freeze(self) -> None:
        """Stop it where it stands; its connections stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


class Trouble:
    """Kills and freezes cameras at random, one at a time, and brings each back.

    A context manager; at its end every camera runs. `counts` has how often each fault was made.
    """

    def __init__(self, cameras: Sequence[CameraProcess], seed: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self._cameras = cameras
        self._random = random.Random(seed)
        self._wanted = False
        self._over = False
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-trouble", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._changed.set()
        self._thread.join()

    def wanted(self, wanted: bool) -> None:
        """Make trouble from now on, or no more; a camera that is away comes back at once."""
        self._wanted = wanted
        if not wanted:
            self._changed.set()

    def _run(self) -> None:
        while not self._over:
            self._changed.clear()
            self._changed.wait(self._random.uniform(*_REST_S))
            if self._wanted and not self._over:
                self._harm(self._random.choice(self._cameras))

    def _harm(self, camera: CameraProcess) -> None:
        if self._random.random() < 0.5:
            self.counts["killed"] += 1
            camera.kill()
            self._changed.wait(self._random.uniform(*_DOWN_S))
            camera.start()
        else:
            self.counts["frozen"] += 1
            camera.freeze()
            self._changed.wait(self._random.uniform(*_FROZEN_S))
            camera.thaw()


@dataclass(slots=True)
class AgeSink(Sink):
    """A sink that keeps how old each frame was at its verdict; eight bytes for each.

    Attributes:
        ages_ms: true ages, from when the camera showed a picture to the verdict on it.
        reported_ms: ages as the program has them.
        scored: frames that gave evidence; `unreadable`, those whose number could not be read.
        silent: results that said `no_signal`.
        last_s: when the newest frame was scored, on the clock of `time.monotonic`.
    """

    camera: CameraProcess
    ages_ms: array[float] = field(default_factory=lambda: array("f"))
    reported_ms: array[float] = field(default_factory=lambda: array("f"))
    scored: int = 0
    unreadable: int = 0
    silent: int = 0
    last_s: float | None = None
    name: str = "age"

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
        if place is None or place >= PICTURES:
            self.unreadable += 1
            return
        self.ages_ms.append(1e3 * self.camera.age_s(place, self.last_s))
        self.reported_ms.append(result.age_ms)
