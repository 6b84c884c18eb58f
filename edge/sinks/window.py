"""A window on the desktop, with its keys: q or Esc quits, h heat map, s snapshot, space pause."""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from typing_extensions import Self

from edge.errors import SinkError
from edge.sinks.controls import Controls
from edge.sinks.images import encode_image
from edge.sinks.paths import file_stem, sink_error
from edge.types import Image, Result

_log = logging.getLogger(__name__)

KEYS = "q or Esc quits, h heat map, s snapshot, space pause"
LARGEST_WH = (1280, 720)
"""Width and height that the window does not exceed when it opens."""
_SMALLEST_WH = (640, 480)

STILL_S = 1.0
"""How long a picture that stands alone is shown."""
_PAUSE_WAIT_MS = 50
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


class WindowSink:
    """Shows the annotated frames in a window and turns its keys into `Controls`.

    Closing the window by its frame ends the run as q does. A paused window goes on answering keys;
    what h changes is seen at the next frame.

    Args:
        controls: what the keys change.
        title: of the window.
        snapshots: folder for the pictures that s saves (PNG, as annotated); created when needed.
        stills: each picture stands alone: it stays for `STILL_S`, the last until a key is pressed.
    """

    name = "show"
    wants_picture = True

    def __init__(
        self,
        controls: Controls,
        title: str = "Patchwatch",
        snapshots: Path = Path(),
        stills: bool = False,
    ) -> None:
        self._controls = controls
        self._title = title
        self._snapshots = snapshots
        self._stay_s = STILL_S if stills else 0.0
        self._open = False
        self._paused = False

    def __enter__(self) -> Self:
        """Make sure that a window can be opened; it appears with the first frame.

        Raises:
            SinkError: there is no display, or this OpenCV cannot show a window.
        """
        problem = display_problem()
        if problem is not None:
            raise SinkError(problem)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open:
            if self._stay_s and error is None:
                self._wait_for_a_key()
            self._open = False
            cv2.destroyAllWindows()

    def write(self, result: Result, picture: Image | None) -> None:
        """Show one picture (the bare frame where no annotated one was drawn) and obey the keys.

        Returns when a pause, or the time of a still picture, ends. After a stop nothing is shown.

        Raises:
            SinkError: the window system refused.
        """
        if self._controls.stop:
            return
        image = result.frame.image if picture is None else picture
        try:
            self._show(image)
            self._obey(self._key(1), result, image)
            until = time.monotonic() + self._stay_s
            while (self._paused or time.monotonic() < until) and not self._controls.stop:
                self._obey(self._key(_PAUSE_WAIT_MS), result, image)
        except cv2.error as error:
            raise SinkError(f"the window can no longer be used ({error.err}).") from error

    def _show(self, image: Image) -> None:
        if not self._open:
            _quiet_qt()
            flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
            cv2.namedWindow(self._title, flags)
            cv2.resizeWindow(self._title, *window_wh(*image.shape[:2]))
            self._open = True
        _, _, width, height = cv2.getWindowImageRect(self._title)
        cv2.imshow(self._title, shrink(image, width, height))

    def _key(self, wait_ms: int) -> str:
        """The key pressed within that time, in lower case; "" for none."""
        # waitKey cuts codes to a byte, which makes the left arrow (0xff51) a Q.
        code = cv2.waitKeyEx(wait_ms)
        if not _is_visible(self._title):
            self._controls.stop = True
        # GTK adds the state of Shift and Num Lock above the lower 16 bits.
        return "" if code == -1 else chr(code & 0xFFFF).lower()

    def _wait_for_a_key(self) -> None:
        while not self._controls.stop:
            if self._key(_PAUSE_WAIT_MS):
                return

    def _obey(self, key: str, result: Result, image: Image) -> None:
        if key in ("q", "\x1b"):
            self._controls.stop = True
        elif key == "h":
            self._controls.heat_map = not self._controls.heat_map
        elif key == "s":
            self._save(result, image)
        elif key == " ":
            self._paused = not self._paused
            title = f"{self._title} (paused)" if self._paused else self._title
            cv2.setWindowTitle(self._title, title)

    def _save(self, result: Result, image: Image) -> None:
        frame = result.frame
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = self._snapshots / f"{file_stem(frame.source)}_{stamp}_{frame.index:06d}.png"
        try:
            self._snapshots.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(image, ".png"))
            _log.info("Snapshot saved: %s", path)
        except (OSError, SinkError) as error:
            # A lost snapshot is no reason to end a run that goes well.
            reason = sink_error(path, error) if isinstance(error, OSError) else error
            _log.warning("No snapshot: %s", reason)


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
        return _unusable(display or wayland, "it does not answer")
    if child.returncode == 0:
        return None
    return explain(display or wayland, child.stderr.decode("utf-8", "replace"))


def explain(display: str, complaint: str) -> str:
    """Turn what a failed attempt to open a window wrote into a sentence.

    Args:
        display: the display that was tried; empty where the system has no such names.
        complaint: what the attempt wrote to its standard error.
    """
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


def shrink(image: Image, width: int, height: int) -> Image:
    """Scale a picture down to what the window has room for; one that fits stays as it is.

    Qt's own scaling drops pixels, which tears thin lines and lettering.

    Args:
        image: uint8 [H, W, 3] BGR.
        width: of the window in pixels; 0 or less where it is not known.
        height: of the window.
    """
    scale = min(width / image.shape[1], height / image.shape[0])
    if not 0 < scale < 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _is_visible(title: str) -> bool:
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:
        return False


def _quiet_qt() -> None:
    """Stop Qt's complaints about fonts, of which the window shows none.

    The wheel points Qt to a folder of fonts that it does not contain; any folder will do.
    """
    fonts = os.environ.get("QT_QPA_FONTDIR")
    if not (fonts and Path(fonts).is_dir()):
        os.environ["QT_QPA_FONTDIR"] = str(Path(cv2.__file__).parent)
