"""Run a program and print, as JSON, how it ended, how long it took and its peak memory.

    python launch.py PROGRAM [ARG ...]

Linux counts towards a program's peak memory what its parent held when it started it, so a parent
that holds clips would be measured itself. This one is small; it imports next to nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def launch(command: list[str]) -> dict[str, object]:
    """Run it to its end; `wall_s`, `peak_mb` (10⁶ bytes), `status` and what it printed."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = child.stdout.read() if child.stdout else b""
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    return {
        "wall_s": wall_s,
        "peak_mb": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
        "status": child.returncode,
        "output": output.decode(errors="replace"),
    }


if __name__ == "__main__":
    print(json.dumps(launch(sys.argv[1:])))
