"""A window on the desktop, with its keys: q or Esc quits, h heat map, s snapshot, space pause."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from types import TracebackType

import cv2
from typing_extensions import Self

from edge.errors import SinkError
from edge.sinks.controls import Controls
from edge.sinks.images import encode_image
from edge.sinks.paths import file_stem, sink_error
from edge.sinks.windowing import Screen, display_problem, explain, shrink, window_wh
from edge.types import Image, Picture, Result

__all__ = ["KEYS", "WindowSink", "display_problem", "explain", "shrink", "window_wh"]

_log = logging.getLogger(__name__)

KEYS = "q or Esc quits, h heat map, s snapshot, space pause"

STILL_S = 1.0
"""How long a picture that stands alone is shown."""
_PAUSE_WAIT_MS = 50


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
        self._screen = Screen(title)
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
        if self._screen.is_open and self._stay_s and error is None:
            self._wait_for_a_key()
        self._screen.close()

    def write(self, result: Result, picture: Picture) -> None:
        """Show one picture and obey the keys.

        Returns when a pause, or the time of a still picture, ends. After a stop nothing is shown.

        Raises:
            SinkError: the window system refused.
        """
        if self._controls.stop:
            return
        image = picture()
        try:
            self._show(image)
            self._obey(self._key(1), result, image)
            until = time.monotonic() + self._stay_s
            while (self._paused or time.monotonic() < until) and not self._controls.stop:
                self._obey(self._key(_PAUSE_WAIT_MS), result, image)
        except cv2.error as error:
            raise SinkError(f"the window can no longer be used ({error.err}).") from error

    def _show(self, image: Image) -> None:
        if not self._screen.is_open:
            self._screen.open(*window_wh(*image.shape[:2]))
        self._screen.show(shrink(image, *self._screen.size_wh()))

    def _key(self, wait_ms: int) -> str:
        """The key pressed within that time; "" for none. A closed window ends the run."""
        key = self._screen.key(wait_ms)
        if key is None:
            self._controls.stop = True
        return key or ""

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
            self._screen.entitle(title)

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
