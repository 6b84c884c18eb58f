"""Runs a window until it stops; a program of its own, because Qt lives once in a process.

Takes a folder for snapshots, how many sources there are, and a mode: `live` gives frames, `idle`
none after the first, `recording` waits for each, `huge` is a recording in 4K, `stills` is two
pictures that stand alone. Writes `TURN HEAT_MAP MILLISECONDS` for each turn to standard output, and
notes to standard error. A file beside that folder is an order: `swap` gives the first camera
another picture, `leave` takes the second away.
"""

from __future__ import annotations

import logging
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from edge.live.views import Controls
from edge.live.window import WindowView
from edge.manifest import Calibration
from edge.overlay import Hud
from edge.overlay.grid import Cell
from edge.types import Picture
from tests.edge.sinks.results import make_result, plain

TITLE = "Patchwatch test"
NAMES = ("front.door", "front.yard", "rtsp://10.0.0.7:554/lobby", "garage")
COLOURS = ((0, 128, 255), (160, 40, 40), (40, 160, 40), (200, 60, 180))
SWAPPED = (90, 90, 220)
SIZES_HW = ((360, 640), (720, 1280), (480, 640), (640, 360))
HUGE_HW = (2160, 3840)


def cell(
    camera: int,
    index: int = 7,
    bgr: tuple[int, int, int] | None = None,
    size_hw: tuple[int, int] | None = None,
) -> Cell:
    """What a camera shows: a picture of one colour."""
    image = plain(*(size_hw or SIZES_HW[camera]), bgr or COLOURS[camera])
    name = NAMES[camera]
    return Cell(name, make_result(image, index, name), Hud(None, Calibration()))


def give(view: WindowView, cells: list[Cell]) -> None:
    """Tell a view of results, as a loop does."""
    for shown in cells:
        assert shown.result is not None
        image = shown.result.frame.image
        view.result(shown.name, shown.result, Picture(partial(np.asarray, image), shown.hud))


def main(snapshots: str, cameras: str, mode: str) -> None:
    """Show cameras, about fifty times a second."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    orders = Path(snapshots).parent
    controls = Controls()
    holds, stills = mode in ("recording", "huge", "stills"), mode == "stills"
    view = WindowView(controls, TITLE, Path(snapshots), holds=holds, still_s=1.0 if stills else 0.0)
    with view:
        for turn in range(2) if stills else count():
            if controls.stop:
                break
            shown = cells(int(cameras), turn, orders, HUGE_HW if mode == "huge" else None)
            began = time.perf_counter()
            view.sources([item.name for item in shown])
            if mode != "idle" or turn == 0:
                give(view, shown)
            view.tick()
            took_ms = 1e3 * (time.perf_counter() - began)
            print(turn, controls.heat_map, f"{took_ms:.2f}", flush=True)
            time.sleep(0.02)
        if controls.stop:
            view.tick()
    print("clean end", flush=True)


def cells(cameras: int, index: int, orders: Path, size_hw: tuple[int, int] | None) -> list[Cell]:
    """The newest of each camera."""
    shown = [cell(camera, index, size_hw=size_hw) for camera in range(cameras)]
    if (orders / "swap").exists():
        shown[0] = cell(0, index, SWAPPED)
    if (orders / "leave").exists():
        del shown[1]
    return shown


if __name__ == "__main__":
    main(*sys.argv[1:])
