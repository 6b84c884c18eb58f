"""OpenCV's window: whether one can be opened, its size, its keys."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2

from edge.types import Image

LARGEST_WH = (1280, 720)
"""Width and height that the window does not exceed when it opens."""
_SMALLEST_WH = (640, 480)

_NAME = "Patchwatch"
"""By which OpenCV knows the window. Only ASCII: with Qt it finds no other for the mouse."""

_PROBE_TIMEOUT_S = 15.0
_PROBE = """
import sys
sys.path[:] = sys.argv[1:]
if sys.platform != "win32":
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import os, cv2
cv2.namedWindow("Patchwatch")
os._exit(0)
"""


class Screen:
    """One window of the desktop; from the main thread only.

    Every method but `close` raises `cv2.error` where the window system refuses. `on_click` is
    called with (x, y), in pixels of the shown picture, from within `key`.
    """

    def __init__(self, title: str, on_click: Callable[[int, int], None]) -> None:
        self._title = title
        self._on_click = on_click
        self.is_open = False

    def open(self, width: int, height: int) -> None:
        """Show the window, for a picture of this size in pixels; people may change it."""
        # The wheel points Qt to a folder of fonts that it does not contain, which makes it
        # complain; the window shows no text of Qt's, so any folder will do.
        if not Path(os.environ.get("QT_QPA_FONTDIR", "absent")).is_dir():
            os.environ["QT_QPA_FONTDIR"] = str(Path(cv2.__file__).parent)
        cv2.namedWindow(_NAME, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        self.entitle(self._title)
        cv2.resizeWindow(_NAME, width, height)
        cv2.setMouseCallback(_NAME, self._on_mouse)
        self.is_open = True

    def size_wh(self) -> tuple[int, int]:
        """Width and height of the room for a picture; 0 or less where it is not known."""
        _, _, width, height = cv2.getWindowImageRect(_NAME)
        return width, height

    def show(self, image: Image) -> None:
        """Show a picture, uint8 [H, W, 3] BGR, at the next `key`."""
        cv2.imshow(_NAME, image)

    def key(self, wait_ms: int) -> str | None:
        """The key pressed within that time, in lower case; "" for none, None once it was closed."""
        # waitKey cuts codes to a byte, which makes the left arrow (0xff51) a Q.
        code = cv2.waitKeyEx(wait_ms)
        try:
            if cv2.getWindowProperty(_NAME, cv2.WND_PROP_VISIBLE) < 1:
                return None
        except cv2.error:
            return None
        # GTK adds the state of Shift and Num Lock above the lower 16 bits.
        return "" if code == -1 else chr(code & 0xFFFF).lower()

    def entitle(self, title: str) -> None:
        """Show another title."""
        cv2.setWindowTitle(_NAME, title)

    def close(self) -> None:
        """Close it, if it is open."""
        if self.is_open:
            self.is_open = False
            cv2.destroyAllWindows()

    def _on_mouse(self, event: int, x: int, y: int, *_: object) -> None:
        if event == cv2.EVENT_LBUTTONDOWN:
            self._on_click(x, y)


def display_problem() -> str | None:
    """Why no window can be opened here, in a sentence; None where one can.

    Call it before any other function of OpenCV's GUI: where Qt cannot reach the display it aborts
    the process, which no `except` can stop. So a child process tries first (about 0.2 s on a
    desktop machine). Looking at the socket of the display is quicker but would miss a refused
    authorisation, a missing Qt plugin (QT_QPA_PLATFORM=wayland with OpenCV's wheel), and an OpenCV
    without GUI. The answer is remembered.
    """
    names = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "QT_QPA_PLATFORM")
    display, wayland, *others = (os.environ.get(name, "") for name in names)
    if sys.platform.startswith("linux") and not (display or wayland):
        return (
            "No window can be opened, because neither DISPLAY nor WAYLAND_DISPLAY is set. Start "
            "from a desktop session or through ssh -X, or use --headless."
        )
    return _probe(display, wayland, *others)


@functools.cache
def _probe(display: str, wayland: str, *others: str) -> str | None:
    try:
        # The same search path as here, so that both find the same OpenCV.
        child = subprocess.run(
            [sys.executable, "-c", _PROBE, *sys.path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _unusable(display or wayland, "it does not respond")
    if child.returncode == 0:
        return None
    return explain(display or wayland, child.stderr.decode("utf-8", "replace"))


def explain(display: str, complaint: str) -> str:
    """Turn what a failed attempt to open a window wrote to its standard error into a sentence."""
    if "not implemented" in complaint:
        return (
            "No window can be opened, because this OpenCV is built without windows (as "
            "opencv-python-headless is). Install opencv-python in its place, or use --headless."
        )
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    lines = lines or ["no reason was given"]
    # Qt says first what is wrong; Python says it last, after its traceback.
    reason = next((line for line in lines if "rror: " in line), lines[0])
    return _unusable(display, re.sub(r"^qt\.[\w.]+: ", "", reason).rstrip("."))


def _unusable(display: str, reason: str) -> str:
    where = f" on display {display}" if display else ""
    return f"No window can be opened{where}: {reason}. Check the display, or use --headless."


def window_wh(height: int, width: int) -> tuple[int, int]:
    """Width and height at which the window opens for a first picture, in its proportions."""
    largest = min(LARGEST_WH[0] / width, LARGEST_WH[1] / height)
    readable = max(1.0, min(_SMALLEST_WH[0] / width, _SMALLEST_WH[1] / height))
    scale = min(largest, readable)
    return max(1, round(width * scale)), max(1, round(height * scale))
