"""What viewers of the live page cost detection: python -m benchmarks.viewers

Three cameras send more frames than one thread can score; nobody and twenty look at one of them, in
short turns, so that whatever else the machine does falls on both. One of the twenty reads nothing.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil

from benchmarks.film import HD, write_clip

_WINDOW_S, _TURNS, _VIEWERS = 2.0, 40, 20
_LIVE = "GET /api/v1/cameras/{}/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def measure(url: str, program: psutil.Process) -> tuple[float, float]:
    """Frames scored a second, and milliseconds of CPU for each, over a window."""

    def now() -> tuple[float, float, float]:
        with urlopen(f"{url}metrics") as answer:
            found = re.findall(rb"(?m)^patchwatch_age_seconds_count.* (\S+)$", answer.read())
        return sum(map(float, found)), time.perf_counter(), sum(program.cpu_times()[:2])

    first = now()
    time.sleep(_WINDOW_S)
    frames, seconds, cpu_s = (b - a for a, b in zip(first, now(), strict=True))
    return frames / seconds, 1e3 * cpu_s / max(frames, 1)


def watch(url: str, stack: ExitStack) -> None:
    """Let viewers come, of whom one stalls, until the stack is left."""
    with urlopen(f"{url}api/v1/cameras") as answer:
        request = _LIVE.format(json.load(answer)[0]["id"]).encode()
    for number in range(_VIEWERS):
        viewer = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/"))))
        viewer.sendall(request)
        stack.callback(viewer.shutdown, socket.SHUT_RDWR)
        if number:
            threading.Thread(target=_read, args=(viewer,), daemon=True).start()


def _read(viewer: socket.socket) -> None:
    with suppress(OSError):
        while viewer.recv(1 << 20):
            pass


def main() -> None:
    """Print both figures with and without viewers, medians, and the ratio of all frames."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        clip = write_clip(Path(folder, "clip.mp4"), HD, 90)
        words = ["run", *[str(clip)] * 3, "--loop", "--headless", "--threads", "1", "--web", "0"]
        command = [sys.executable, "-m", "patchwatch", *words, "--no-reuse"]
        program = psutil.Popen(command, stderr=subprocess.PIPE, text=True)
        stack.callback(program.terminate)
        url = next(found[1] for line in program.stderr if (found := re.search(r"(http\S+)", line)))
        threading.Thread(target=program.stderr.read, daemon=True).start()
        time.sleep(5)
        turns = []
        for _ in range(_TURNS):
            alone = measure(url, program)
            with ExitStack() as viewers:
                watch(url, viewers)
                turns.append((alone, measure(url, program)))
        fps, cpu_ms = np.asarray(turns).transpose(2, 1, 0)
        low, high = np.percentile(fps[1] / fps[0], (25, 75))
        print(f"fps: alone {np.median(fps[0]):.1f}, watched {np.median(fps[1]):.1f}; all frames")
        print(f"{fps[1].sum() / fps[0].sum():.3f}; quarters of the turns {low:.2f} to {high:.2f}")
        print(
            f"CPU ms a frame: alone {np.median(cpu_ms[0]):.1f}, watched {np.median(cpu_ms[1]):.1f}"
        )


if __name__ == "__main__":
    main()
