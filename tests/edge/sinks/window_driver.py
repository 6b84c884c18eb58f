"""Runs a window until it stops; a program of its own, because Qt lives once in a process.

Takes a folder for snapshots, height and width of the frames and, for two pictures that stand alone,
the word stills; writes `INDEX HEAT_MAP` for each frame to standard output, and notes to standard
error.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from edge.sinks.controls import Controls
from edge.sinks.window import WindowSink
from tests.edge.sinks.results import give, make_result, plain

TITLE = "Patchwatch test"
BGR = (0, 128, 255)


def main(snapshots: str, height: str, width: str, *mode: str) -> None:
    """Show frames of one colour, about fifty a second; or two pictures."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    controls = Controls()
    picture = plain(int(height), int(width), BGR)
    index = 0
    stills = "stills" in mode
    with WindowSink(controls, TITLE, Path(snapshots), stills) as sink:
        while not controls.stop and not (stills and index == 2):
            give(sink, make_result(picture, index, "clip.mp4"), picture)
            print(index, controls.heat_map, flush=True)
            index += 1
            time.sleep(0.02)
        give(sink, make_result(picture, index), picture)
    print("clean end", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
