"""Cold start and memory of `patchwatch run`, as whole processes.

    python -m benchmarks.start [--rounds 7] [--write]

From the command to the first scored frame of a 720p file, beside the bare imports of OpenCV and
ONNX Runtime in the same rounds; and the peak memory of scoring the whole file at region `native`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.results_file import write_result
from edge.sinks.video import VideoSink
from edge.types import Frame, Result, Verdict

FRAMES = 120
IMPORTS = ("-c", "import cv2, onnxruntime")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write a result file where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, 720, 1280, FRAMES)
        figures = measure(clip, args.rounds)
    out = Console(highlight=False)
    for name, value in figures.items():
        out.print(f"{name:<28}{value:>10.3f}")
    if args.write:
        out.print(str(write_result("start", figures, {"rounds": args.rounds, "frames": FRAMES})))
    return 0


def measure(clip: Path, rounds: int) -> dict[str, float]:
    """Medians over interleaved rounds; see the keys for what and in which unit."""
    run = ["-m", "patchwatch", "run", str(clip), "--headless", "--quiet"]
    imports, first = [], []
    for _ in track(range(rounds), "rounds", transient=True):
        imports.append(process(IMPORTS)[0])
        first.append(process([*run, "--frames", "1"])[0])
    whole_s, peak_mb = process(run)
    return {
        "imports_alone_s": statistics.median(imports),
        "first_scored_frame_s": statistics.median(first),
        "first_scored_frame_s_max": max(first),
        "ratio_to_imports": statistics.median(first) / statistics.median(imports),
        "whole_clip_720p_s": whole_s,
        "peak_memory_720p_native_mb": peak_mb,
    }


def process(arguments: Sequence[str]) -> tuple[float, float]:
    """Run Python with these arguments; wall time in s and peak resident memory in MB (10⁶)."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, usage = os.wait4(child.pid, 0)
    elapsed = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        text = child.stderr.read().decode() if child.stderr else ""
        raise SystemExit(f"benchmarks: {' '.join(arguments)} failed: {text}")
    if child.stderr:
        child.stderr.close()
    return elapsed, usage.ru_maxrss * 1024 / 1e6


def write_clip(path: Path, height: int, width: int, frames: int) -> None:
    """An H.264 clip of moving texture at 30 fps."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (height, width + frames, 3), np.uint8)
    with VideoSink(path) as video:
        for index in range(frames):
            image = np.ascontiguousarray(wide[:, index : index + width])
            frame = Frame(image, index, index / 30, "made", pts=index / 30)
            video.write(Result(frame, None, Verdict("uncertain")), image)


if __name__ == "__main__":
    sys.exit(main())
