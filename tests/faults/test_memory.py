"""What one frame leaves behind is little, and a camera sends a hundred million in a month."""

from __future__ import annotations

from tests.edge.sources.clips import flat_jpeg
from tests.programs import in_python
from tests.servers import motion_jpeg

FRAMES = 20_000
MOST_BYTES = 40.0
"""For each frame. What a process grows by at random is a tenth of a megabyte or so."""

_SCRIPT = f"""
import gc, os, sys
from pathlib import Path
from edge.sources.policy import Limits
from edge.sources.streams import open_stream

def rss():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

capture = open_stream(sys.argv[1], Limits(), name="door")
for _ in range(2000):
    capture.read()
before = rss()
for number in range({FRAMES}):
    shot = capture.read()
    if number % 10 == 0:
        shot.image()
print((rss() - before) / {FRAMES})
"""


def test_a_frame_leaves_nothing_behind() -> None:
    with motion_jpeg([flat_jpeg(100, (64, 48))], fps=1e6) as url:
        done = in_python(_SCRIPT, url)
    assert done.returncode == 0, done.stderr
    left = float(done.stdout)
    assert left < MOST_BYTES
