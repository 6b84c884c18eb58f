"""One window for one camera or many, with the keys of every window and a digit for each camera."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import cv2
from typing_extensions import Self

from edge.errors import PatchwatchError, SinkError
from edge.overlay import draw
from edge.overlay.geometry import union
from edge.overlay.grid import Cell, Grid, arrange
from edge.pixels import bgr_frame
from edge.sinks.controls import Controls
from edge.sinks.images import encode_image
from edge.sinks.paths import file_stem, sink_error
from edge.sinks.windowing import LARGEST_WH, Screen, display_problem, window_wh
from edge.types import Image, Result

__all__ = ["KEYS", "Cell", "Wall"]

_log = logging.getLogger(__name__)

KEYS = (
    "q or Esc quits, h heat map, s snapshot, space pause; with several cameras 1 to 9 or a click "
    "enlarges one, 0 shows all"
)

_PAINT_MS, _IDLE_MS = 7, 1
"""How long a key is waited for: Qt paints a new picture 5 ms after it was given, in that wait."""

_MOST_KEYS = 8
"""Keys that are obeyed at once; those of a key that is held down could come for ever."""

_SAVING_S = 2.0
"""How long the end of a run waits for a snapshot that is being saved."""

_AS_A_FILE = re.compile(r"\w[\w.-]{0,39}")
"""Names that are names of files already; a suffix in them is none."""


class Wall:
    """Shows cameras in a window and turns its keys into `Controls`; from the main thread only.

    Each is drawn at the size at which it is seen, and anew only when it has changed. Closing the
    window by its frame ends the run as q does. A pause holds what is shown and nothing else; keys
    go on working, and show what they change.

    Args:
        controls: what the keys change.
        title: of the window.
        snapshots: folder for the pictures that s saves (PNG, as annotated, one for each camera
            that is shown, in its own size); created when needed.
    """

    def __init__(
        self, controls: Controls, title: str = "Patchwatch", snapshots: Path = Path()
    ) -> None:
        self._controls = controls
        self._title = title
        self._screen = Screen(title)
        self._grid = Grid()
        self._snapshots = _Snapshots(snapshots)
        self._cells: tuple[Cell, ...] = ()
        self._enlarged: str | None = None
        self._paused = False
        self._opening_wh = LARGEST_WH
        self._shown: tuple[object, ...] = ()

    def __enter__(self) -> Self:
        """Make sure that a window can be opened; it appears with the first cells.

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
        self._screen.close()
        self._snapshots.finish()

    def show(self, cells: Sequence[Cell]) -> None:
        """Show the newest of each camera, and obey the keys. After a stop nothing is shown.

        Args:
            cells: every camera, in the order of their keys, with names that differ.

        Raises:
            SinkError: the window system refused.
        """
        if not self._paused:
            self._cells = tuple(cells)
        self.poll_keys()

    def poll_keys(self) -> None:
        """Obey the keys where there is nothing new to show; as often as they should be answered.

        Raises:
            SinkError: the window system refused.
        """
        if self._controls.stop or not (self._cells or self._screen.is_open):
            return
        try:
            self._turn()
        except cv2.error as error:
            raise SinkError(f"the window can no longer be used ({error.err}).") from error

    def _turn(self) -> None:
        for _ in range(_MOST_KEYS):
            key = self._screen.key(_PAINT_MS if self._refresh() else _IDLE_MS)
            if key is None:
                self._controls.stop = True
            if not key:
                return
            self._obey(key)

    def _refresh(self) -> bool:
        """Show what should be seen now; False where it is seen already."""
        if not self._screen.is_open:
            self._opening_wh = _opening_wh(self._cells)
            self._screen.open(*self._opening_wh, on_click=self._click, fills=True)
        room_wh = self._screen.size_wh()
        size_wh = room_wh if min(room_wh) > 0 else self._opening_wh
        seen = [(cell.name, cell.result) for cell in self._cells]
        looks = (*seen, size_wh, self._selected(), self._controls.heat_map)
        if looks == self._shown:
            return False
        cells = [self._with_heat_map(cell) for cell in self._cells]
        self._screen.show(self._grid.compose(cells, size_wh, self._selected()))
        self._shown = looks
        return True

    def _with_heat_map(self, cell: Cell) -> Cell:
        """A cell as the key h wants it, whatever was wanted when its frame came."""
        if cell.hud is None:
            return cell
        return replace(cell, hud=replace(cell.hud, heat_map=self._controls.heat_map))

    def _selected(self) -> int | None:
        names = [cell.name for cell in self._cells]
        return names.index(self._enlarged) if self._enlarged in names else None

    def _obey(self, key: str) -> None:
        if key in ("q", "\x1b"):
            self._controls.stop = True
        elif key == "h":
            self._controls.heat_map = not self._controls.heat_map
        elif key == "s":
            chosen = self._selected()
            cells = self._cells if chosen is None else (self._cells[chosen],)
            self._snapshots.save([self._with_heat_map(cell) for cell in cells])
        elif key == " ":
            self._paused = not self._paused
            self._screen.entitle(f"{self._title} (paused)" if self._paused else self._title)
        elif key in "0123456789":
            self._enlarge(int(key) - 1)

    def _enlarge(self, index: int) -> None:
        """Enlarge a camera, or show all again: for the one that is enlarged, and for -1."""
        if index < len(self._cells):
            again = index in (-1, self._selected())
            self._enlarged = None if again else self._cells[index].name

    def _click(self, x: int, y: int) -> None:
        index = self._grid.cell_at(x, y)
        if index is not None:
            self._enlarge(index)


def _opening_wh(cells: Sequence[Cell]) -> tuple[int, int]:
    """Width and height at which the window opens: just large enough for the grid."""
    if len(cells) == 1:
        return window_wh(*cells[0].size_hw)
    left, top, right, bottom = union(arrange([cell.size_hw for cell in cells], LARGEST_WH))
    return max(1, right - left), max(1, bottom - top)


class _Snapshots:
    """Saves pictures on a thread of its own: drawing and encoding many takes longer than a key may.

    Args:
        folder: where to; created when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread: threading.Thread | None = None

    def save(self, cells: Sequence[Cell]) -> None:
        """Save a picture of each cell that has one; one call at a time."""
        if self._thread is not None and self._thread.is_alive():
            _log.info("The last snapshot is still being saved.")
            return
        arguments = (cells, time.strftime("%Y%m%d-%H%M%S"))
        # A disk that hangs must not keep the process alive.
        self._thread = threading.Thread(
            target=self._save_all, args=arguments, name="patchwatch-snapshot", daemon=True
        )
        self._thread.start()

    def finish(self) -> None:
        """Wait a moment for what is being saved."""
        if self._thread is not None:
            self._thread.join(_SAVING_S)
            if self._thread.is_alive():
                _log.warning("A snapshot could not be saved within %g s and is lost.", _SAVING_S)

    def _save_all(self, cells: Sequence[Cell], stamp: str) -> None:
        # A lost snapshot is no reason to end a run that goes well.
        try:
            paths = [path for cell in cells if (path := self._save(cell, stamp)) is not None]
        except PatchwatchError as error:
            _log.warning("No snapshot: %s", error)
            return
        if not paths:
            _log.info("No snapshot, because no camera has given a frame yet.")
        elif len(paths) == 1:
            _log.info("Snapshot saved: %s", paths[0])
        else:
            _log.info("%d snapshots saved: %s", len(paths), self._folder / f"*_{stamp}_*.png")

    def _save(self, cell: Cell, stamp: str) -> Path | None:
        if cell.result is None or cell.hud is None:
            return None
        stem = cell.name if _AS_A_FILE.fullmatch(cell.name) else file_stem(cell.name)
        number = max(0, cell.result.frame.index)
        path = self._folder / f"{stem}_{stamp}_{number:06d}.png"
        picture = draw(_as_bgr(cell.result), cell.hud)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write_whole(path, picture)
        except OSError as error:
            raise sink_error(path, error) from error
        return path


def _as_bgr(result: Result) -> Result:
    return replace(result, frame=bgr_frame(result.frame))


def _write_whole(path: Path, picture: Image) -> None:
    """Write a picture under its name only once it is complete."""
    data = encode_image(picture, ".png")
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
