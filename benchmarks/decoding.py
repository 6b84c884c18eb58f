"""Reading a film beside OpenCV's reader: time and memory, each in a process of its own, in rounds.

    python -m benchmarks.decoding [FILM] [--rounds 5]

Without a film one of 1080p in H.264 is made. Both give every frame as BGR; ratios are of ours to
OpenCV's in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from benchmarks.results_file import OUTPUT, describe_machine, file_stem, now, write_json

SIZE_HW, FRAMES, FPS = (1080, 1920), 240, 30

_OURS = """
from edge.sources import open_recording
with open_recording(path) as source:
    count = sum(1 for frame in source)
"""
_OPENCV = """
import cv2
capture, count = cv2.VideoCapture(path), 0
while capture.read()[0]:
    count += 1
"""
_MEASURED = """
import re, sys, time
from pathlib import Path
path = sys.argv[1]
{imports}
began, busy = time.perf_counter(), time.process_time()
{body}
seconds, busy = time.perf_counter() - began, time.process_time() - busy
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(count, seconds, busy, int(peak) / 1024)
"""
_IMPORTS = "import cv2, numpy, edge.sources.stills, edge.sources.video"


def make_film(path: Path) -> Path:
    """H.264 of soft moving shapes with the noise of a sensor."""
    rng, (height, width) = np.random.default_rng(0), SIZE_HW
    coarse = rng.integers(0, 256, (height // 60, width // 60, 3), np.uint8)
    scene = np.kron(coarse, np.ones((60, 60, 1), np.uint8))
    noise = rng.integers(-6, 7, (2 * height, width, 3), np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "fast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(FRAMES):
            grain = noise[index * 7 % height :][:height]
            image = (np.roll(scene, 3 * index, axis=1) + grain).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


def measured(path: Path, body: str) -> tuple[int, float, float, float]:
    """Frames, seconds, seconds of processors, and the most memory in MB of one reading."""
    script = _MEASURED.format(imports=_IMPORTS, body=body)
    words = [sys.executable, "-c", script, str(path)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return int(said[0]), float(said[1]), float(said[2]), float(said[3])


def main() -> int:
    """Measure, print the medians of the ratios, and write them."""
    parser = argparse.ArgumentParser(prog="benchmarks.decoding", description=__doc__)
    parser.add_argument("film", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film = args.film or make_film(Path(folder) / "film.mp4")
        rows = []
        for _ in range(args.rounds):
            ours, other = measured(film, _OURS), measured(film, _OPENCV)
            if ours[0] != other[0]:
                print(f"frames differ: {ours[0]} of ours, {other[0]} of OpenCV's")
            rows.append((ours, other))
    print(
        f"{rows[0][0][0]} frames, {args.rounds} rounds; ours / OpenCV's, median (lowest to highest)"
    )
    figures: dict[str, object] = {}
    for place, name in ((1, "time"), (2, "processor time"), (3, "most memory")):
        ratios = sorted(ours[place] / other[place] for ours, other in rows)
        middle, (low, high) = statistics.median(ratios), (ratios[0], ratios[-1])
        mine = statistics.median(ours[place] for ours, _ in rows)
        unit = "MB" if place == 3 else "s"
        print(f"{name}: {middle:.2f} ({low:.2f} to {high:.2f}); ours {mine:.2f} {unit}")
        figures[name] = {"ratio": middle, "low": low, "high": high, "ours": mine, "unit": unit}
    result = {
        "schema": 1,
        "theme": "decoding",
        "time": now(),
        "machine": describe_machine(),
        "frames": rows[0][0][0],
        "rounds": args.rounds,
        "figures": figures,
    }
    path = args.output / f"{file_stem('decoding')}.json"
    write_json(path, result)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
