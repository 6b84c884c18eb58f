"""Runs a wall until it stops; a program of its own, because Qt lives once in a process.

Takes a folder for snapshots, how many cameras there are, and whether they give frames (`live`) or
none after the first (`still`). Writes `TURN HEAT_MAP MILLISECONDS` for each turn to standard
output, and notes to standard error. A file beside that folder is an order: `swap` gives the first
camera another picture, `leave` takes the second away.
"""

from __future__ import annotations

import logging
import sys
import time
from itertools import count
from pathlib import Path

from edge.manifest import Calibration
from edge.overlay import Hud
from edge.sinks.controls import Controls
from edge.sinks.wall import Cell, Wall
from tests.edge.sinks.results import make_result, plain

TITLE = "Patchwatch wall"
NAMES = ("front.door", "front.yard", "rtsp://10.0.0.7:554/lobby", "garage")
COLOURS = ((0, 128, 255), (160, 40, 40), (40, 160, 40), (200, 60, 180))
SWAPPED = (90, 90, 220)
SIZES_HW = ((360, 640), (720, 1280), (480, 640), (640, 360))


def cell(camera: int, index: int = 7, bgr: tuple[int, int, int] | None = None) -> Cell:
    """What a camera shows: a picture of one colour."""
    image = plain(*SIZES_HW[camera], bgr or COLOURS[camera])
    name = NAMES[camera]
    return Cell(name, make_result(image, index, name), Hud(None, Calibration()))


def main(snapshots: str, cameras: str, mode: str) -> None:
    """Show cameras, about fifty times a second."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    orders = Path(snapshots).parent
    controls = Controls()
    with Wall(controls, TITLE, Path(snapshots)) as wall:
        for turn in count():
            if controls.stop:
                break
            began = time.perf_counter()
            if mode == "live" or turn == 0:
                wall.show(cells(int(cameras), turn, orders))
            else:
                wall.poll_keys()
            took_ms = 1e3 * (time.perf_counter() - began)
            print(turn, controls.heat_map, f"{took_ms:.2f}", flush=True)
            time.sleep(0.02)
        wall.show([cell(0)])
    print("clean end", flush=True)


def cells(cameras: int, index: int, orders: Path) -> list[Cell]:
    """The newest of each camera."""
    swapped = (orders / "swap").exists()
    shown = [cell(camera, index) for camera in range(cameras)]
    if swapped:
        shown[0] = cell(0, index, SWAPPED)
    if (orders / "leave").exists():
        del shown[1]
    return shown


if __name__ == "__main__":
    main(*sys.argv[1:])
