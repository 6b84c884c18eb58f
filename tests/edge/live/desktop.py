"""A window of a program under test, seen and used from outside as a person would."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ImageGrab, features

from edge.types import Image
from tests.xvfb import need, xvfb

PATIENCE_S = 120.0
_PAINTED_WITHIN_S = 1.0
ROOT = Path(__file__).parents[3]


@contextmanager
def desktop() -> Iterator[dict[str, str]]:
    """A screen without hardware; yields the environment of its programs. Skips where it cannot."""
    if not cv2.currentUIFramework():
        pytest.skip("needs an OpenCV with windows (opencv-python)")
    if not features.check("xcb"):
        pytest.skip("needs a Pillow that can look at an X screen")
    need("xdotool")
    with xvfb() as environment:
        yield environment


@dataclass
class Window:
    """A running program with a window.

    Attributes:
        run: the program.
        environment: of its screen.
        log: its standard output.
        snapshots: folder for its snapshots.
        title: of its window.
    """

    run: subprocess.Popen[str]
    environment: dict[str, str]
    log: Path
    snapshots: Path
    title: str

    def xdotool(self, *words: str) -> str:
        done = subprocess.run(
            ["xdotool", *words], env=self.environment, capture_output=True, text=True
        )
        return done.stdout

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not happen; {self.lines()[-3:]}; {self.notes()}")
            time.sleep(0.02)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def notes(self) -> str:
        return self.log.with_name("notes").read_text()

    def ids(self, title: str | None = None) -> list[str]:
        title = title or self.title
        return self.xdotool("search", "--name", f"^{re.escape(title)}$").split()

    def wait_until_shown(self) -> None:
        self.wait_for(self.ids, "the window")
        self.wait_for(lambda: len(self.lines()) > 3, "a frame")

    def wait_until_painted(self) -> None:
        """Wait until there is something in the window.

        Without a window manager Qt 5 now and then misses that its window was mapped, and then never
        paints it, until it is mapped again.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_painted(time.monotonic() + _PAINTED_WITHIN_S):
            if time.monotonic() > deadline:
                pytest.fail(f"the window stays black; {self.notes()}")
            self.xdotool("windowunmap", self.ids()[-1], "windowmap", self.ids()[-1])

    def _is_painted(self, until: float) -> bool:
        while not (painted := self.seen().any()) and time.monotonic() < until:
            time.sleep(0.02)
        return bool(painted)

    def seen(self) -> Image:
        """What is on the screen, uint8 [H, W, 3] BGR."""
        picture = ImageGrab.grab(xdisplay=self.environment["DISPLAY"])
        return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[..., ::-1])

    def press(self, key: str, title: str | None = None) -> None:
        self.xdotool("windowfocus", self.ids(title)[-1])
        self.xdotool("key", key)

    def assert_clean_end(self) -> None:
        assert self.run.wait(timeout=PATIENCE_S) == 0
        assert self.lines()[-1] == "clean end"


@contextmanager
def running(
    environment: dict[str, str], folder: Path, module: str, title: str, arguments: Sequence[str]
) -> Iterator[Window]:
    """Start a module, whose first argument is the folder for snapshots, and end it at last."""
    log, notes, snapshots = folder / "log", folder / "notes", folder / "snapshots"
    with log.open("w") as out, notes.open("w") as errors:
        run = subprocess.Popen(
            [sys.executable, "-m", module, str(snapshots), *arguments],
            stdout=out,
            stderr=errors,
            env=environment,
            cwd=ROOT,
            text=True,
        )
    try:
        yield Window(run, environment, log, snapshots, title)
    finally:
        run.kill()
        run.wait()
