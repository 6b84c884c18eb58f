"""The window view: one source or many in a grid, with keys; from the main thread only."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
from typing_extensions import Self

from edge.errors import PatchwatchError, SinkError
from edge.files import write_whole
from edge.live.screen import LARGEST_WH, Screen, display_problem, window_wh
from edge.live.views import Controls, View
from edge.overlay import draw
from edge.overlay.geometry import union
from edge.overlay.grid import Cell, Grid, arrange
from edge.overlay.notices import draw_note
from edge.overlay.style import layout_for
from edge.pixels import bgr_frame
from edge.sinks.images import encode_image
from edge.sinks.paths import file_stem
from edge.sinks.retention import Retention
from edge.types import Picture, Result

_log = logging.getLogger(__name__)

KEYS = "q or Esc quits, h heat map, s snapshot, space pause, ? keys"
GRID_KEYS = "with several cameras 1 to 9 or a click enlarges one, 0 shows all"

_KEY_LINES = ("? these keys", "space pause", "h heat map", "s snapshot", "q quit")
_GRID_LINE = "1-9 or a click: one camera, 0: all"

_FLASH_S = 0.6
"""How long a snapshot is announced on the picture."""

STILL_S = 1.0
"""How long a picture that stands alone is shown."""

_PAINT_MS, _IDLE_MS, _HOLD_MS = 7, 1, 50
"""How long a key is waited for: Qt paints a new picture 5 ms after it was given, in that wait."""

_MOST_KEYS = 8
"""Keys that are obeyed in one tick; a key that is held down repeats without end."""

_SAVING_S = 2.0
"""How long the end of a run waits for a snapshot that is being saved."""

_AS_A_FILE = re.compile(r"\w[\w.-]{0,39}")
"""Names of cameras that are fit for a file as they are; a dot in them begins no suffix."""

_OWN = re.compile(r".+_\d{8}-\d{6}_\d{6,}\.png")
_UNLIMITED = Retention()


class WindowView(View):
    """Shows the newest result of each source and turns keys into `Controls`.

    Each is drawn at the size at which it is seen, and only when it has changed. Closing the window
    by its frame ends the run as q does. A pause holds the picture; keys go on working.

    Args:
        controls: what the keys change.
        title: of the window.
        snapshots: folder for the pictures that s saves (PNG, as annotated, one for each source
            that is shown, in its own size); created when needed.
        holds: of a recording: `tick` returns only when a pause ends, as no frame may be lost.
        still_s: of pictures that stand alone: how long `tick` shows each; the last stays until a
            key is pressed.
    """

    name = "show"
    period_s = 0.02

    def __init__(
        self,
        controls: Controls,
        title: str = "Patchwatch",
        snapshots: Path = Path(),
        retention: Retention = _UNLIMITED,
        *,
        holds: bool = False,
        still_s: float = 0.0,
    ) -> None:
        self._controls = controls
        self._title = title
        self._screen = Screen(title, self._click)
        self._grid = Grid()
        self._snapshots = _Snapshots(snapshots, retention, plain_names=not holds)
        self._holds = holds
        self._still_s = still_s
        self._names: tuple[str, ...] = ()
        self._newest: dict[str, Cell] = {}
        self._cells: tuple[Cell, ...] = ()
        self._enlarged: str | None = None
        self._paused = False
        self._keys_shown = False
        self._flash_until_s = 0.0
        self._opening_wh = LARGEST_WH
        self._shown: tuple[object, ...] = ()

    def __enter__(self) -> Self:
        """Make sure that a window can be opened; it appears with the first tick.

        Raises:
            SinkError: there is no display, or this OpenCV cannot show a window.
        """
        problem = display_problem()
        if problem is not None:
            raise SinkError(problem)
        return self

    def __exit__(self, *error: object) -> None:
        if self._screen.is_open and self._still_s and error[0] is None:
            while not self._controls.stop and not self._turn(_HOLD_MS):
                pass
        self._screen.close()
        self._snapshots.finish()

    def sources(self, names: Sequence[str]) -> None:
        """What to show, in the order of the keys; names differ."""
        self._newest = {name: self._newest.get(name, Cell(name)) for name in names}
        self._names = tuple(names)

    def result(self, name: str, result: Result, picture: Picture) -> None:
        """Show it at the next tick; from any thread."""
        self._newest[name] = Cell(name, result, picture.hud)

    def tick(self) -> None:
        """Show the newest, and obey the keys. After a stop nothing is shown.

        Raises:
            SinkError: the window system refused.
        """
        if not self._paused:
            self._cells = tuple(self._newest[name] for name in self._names)
        if self._controls.stop or not (self._cells or self._screen.is_open):
            return
        self._turn()
        until = time.monotonic() + self._still_s
        while self._holds and not self._controls.stop:
            if not self._paused and time.monotonic() >= until:
                break
            self._turn(_HOLD_MS)

    def _turn(self, idle_ms: int = _IDLE_MS) -> bool:
        """Refresh the window and obey what was pressed; whether any key was."""
        try:
            for number in range(_MOST_KEYS):
                key = self._screen.key(_PAINT_MS if self._refresh() else idle_ms)
                if key is None:
                    self._controls.stop = True
                if not key:
                    return number > 0
                self._obey(key)
        except cv2.error as error:
            raise SinkError(f"the window can no longer be used ({error.err}).") from error
        return True

    def _refresh(self) -> bool:
        """Draw what should be seen now; False where it is seen already."""
        if not self._screen.is_open:
            self._opening_wh = _opening_wh(self._cells)
            self._screen.open(*self._opening_wh)
        room_wh = self._screen.size_wh()
        size_wh = room_wh if min(room_wh) > 0 else self._opening_wh
        seen = [(cell.name, cell.result) for cell in self._cells]
        notes = self._notes()
        looks = (*seen, size_wh, self._selected(), self._controls.heat_map, notes)
        if looks == self._shown:
            return False
        cells = [self._with_heat_map(cell) for cell in self._cells]
        picture = self._grid.compose(cells, size_wh, self._selected())
        if notes:
            draw_note(picture, notes, layout_for(*picture.shape[:2]))
        self._screen.show(picture)
        self._shown = looks
        return True

    def _notes(self) -> tuple[str, ...]:
        """What is written over the picture for whoever sits in front of it."""
        paused = ("PAUSED, space goes on",) if self._paused else ()
        saved = ("snapshot",) if time.monotonic() < self._flash_until_s else ()
        keys = _KEY_LINES if self._keys_shown else ()
        several = (_GRID_LINE,) if self._keys_shown and len(self._cells) > 1 else ()
        return (*paused, *saved, *keys, *several)

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
            self._flash_until_s = time.monotonic() + _FLASH_S
        elif key == "?":
            self._keys_shown = not self._keys_shown
        elif key == " ":
            self._paused = not self._paused
            self._screen.entitle(f"{self._title} (paused)" if self._paused else self._title)
        elif key in "0123456789":
            self._enlarge(int(key) - 1)

    def _enlarge(self, index: int) -> None:
        """Enlarge a source, or show all: for the one that is enlarged, and for -1."""
        if index < len(self._cells):
            back = index in (-1, self._selected())
            self._enlarged = None if back else self._cells[index].name

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
    """Saves pictures on a thread of its own, since drawing and encoding many takes long."""

    def __init__(self, folder: Path, retention: Retention, plain_names: bool) -> None:
        self._folder = folder
        self._retention = retention
        self._plain_names = plain_names
        self._thread: threading.Thread | None = None

    def save(self, cells: Sequence[Cell]) -> None:
        """Save a picture of each cell that has one; one call at a time."""
        if self._thread is not None and self._thread.is_alive():
            _log.info("The last snapshot is still being saved.")
            return
        # A disk that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._save_all, args=(cells,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait a moment for what is being saved."""
        if self._thread is not None:
            self._thread.join(_SAVING_S)
            if self._thread.is_alive():
                _log.warning("A snapshot could not be saved within %g s and is lost.", _SAVING_S)

    def _save_all(self, cells: Sequence[Cell]) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        # A lost snapshot is no reason to end a run that goes well.
        try:
            paths = [path for cell in cells if (path := self._save(cell, stamp)) is not None]
        except PatchwatchError as error:
            _log.warning("No snapshot: %s", error)
            return
        self._retention.apply(self._folder, _OWN)
        if not paths:
            _log.info("No snapshot, because there is no frame yet.")
        elif len(paths) == 1:
            _log.info("Snapshot saved: %s", paths[0])
        else:
            _log.info("%d snapshots saved: %s", len(paths), self._folder / f"*_{stamp}_*.png")

    def _save(self, cell: Cell, stamp: str) -> Path | None:
        if cell.result is None or cell.hud is None:
            return None
        plain = self._plain_names and _AS_A_FILE.fullmatch(cell.name)
        stem = cell.name if plain else file_stem(cell.name)
        path = self._folder / f"{stem}_{stamp}_{max(0, cell.result.frame.index):06d}.png"
        result = replace(cell.result, frame=bgr_frame(cell.result.frame))
        write_whole(path, encode_image(draw(result, cell.hud), ".png"))
        return path
