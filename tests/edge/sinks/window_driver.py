"""Runs a window until it stops; a program of its own, because Qt lives once in a process.

Takes height and width of the frames and a folder for snapshots; writes `INDEX HEAT_MAP` for each
frame to standard output, and notes to standard error.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from edge.sinks.controls import Controls
from edge.sinks.window import WindowSink
from tests.edge.sinks.results import make_result, plain

TITLE = "Patchwatch test"
BGR = (0, 128, 255)


def main(height: str, width: str, snapshots: str) -> None:
    """Show frames of one colour, about fifty a second."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    controls = Controls()
    picture = plain(int(height), int(width), BGR)
    index = 0
    with WindowSink(controls, TITLE, Path(snapshots)) as sink:
        while not controls.stop:
            sink.write(make_result(picture, index, "clip.mp4"), picture)
            print(index, controls.heat_map, flush=True)
            index += 1
            time.sleep(0.02)
        sink.write(make_result(picture, index), picture)
    print("clean end", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
