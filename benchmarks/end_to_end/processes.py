"""Whole processes: cold start, peak memory, and processor time at a fixed rate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.section import Row
from benchmarks.stats import median
from edge.errors import PatchwatchError

IMPORTS = ("-c", "import cv2, onnxruntime")
_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended well.

    Attributes:
        wall_s: from its start to its end.
        peak_mb: most memory that was resident, 10⁶ bytes.
        output: what it printed.
    """

    wall_s: float
    peak_mb: float
    output: str


def run_python(arguments: Sequence[str]) -> Ended:
    """Run this Python with arguments; ended with us if we are interrupted.

    Raises:
        PatchwatchError: it failed; says with which last words.
    """
    # Isolated, so that the launcher itself stays small; a session, so that it ends with its child.
    command = [sys.executable, "-I", "-S", str(_LAUNCHER), sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as launcher:
        try:
            told, _ = launcher.communicate()
        except BaseException:
            os.killpg(launcher.pid, signal.SIGKILL)
            raise
    ended = json.loads(told)
    if ended["status"]:
        last = (ended["output"].strip().splitlines() or ["it said nothing"])[-1]
        raise PatchwatchError(f"'python {' '.join(arguments)}' failed: {last}")
    return Ended(ended["wall_s"], ended["peak_mb"], ended["output"])


def scoring(model: str, clip: Path, *more: str) -> list[str]:
    """The arguments that score a clip at the model's own region without a window."""
    run = ["-m", "patchwatch", "run", str(clip), "--model", model, "--headless", "--quiet"]
    return [*run, *more]


@dataclass(slots=True)
class ColdStart:
    """From a command to its first scored frame, beside the imports that it cannot do without.

    Attributes:
        model: a shipped model's name or a model file.
        clip: what is scored.
        name: of the clip's size.
        imports_s: wall time of `python -c "import cv2, onnxruntime"`, for each round.
        first_frame_s: wall time of `patchwatch run CLIP --headless --frames 1`, likewise.
    """

    model: str
    clip: Path
    name: str
    imports_s: list[float] = field(default_factory=list)
    first_frame_s: list[float] = field(default_factory=list)

    def run(self) -> str:
        """One more round of both.

        Raises:
            PatchwatchError: one of them failed.
        """
        imports_s = run_python(IMPORTS).wall_s
        first_s = run_python(scoring(self.model, self.clip, "--frames", "1")).wall_s
        self.imports_s.append(imports_s)
        self.first_frame_s.append(first_s)
        return f"cold start: {first_s:.2f} s, bare imports {imports_s:.2f} s"

    def rows(self) -> list[Row]:
        """One row, once there is a round."""
        if not self.first_frame_s:
            return []
        ratios = [a / b for a, b in zip(self.first_frame_s, self.imports_s, strict=True)]
        return [
            {
                "part": "start",
                "clip": self.name,
                "rounds_imports_s": list(self.imports_s),
                "rounds_first_frame_s": list(self.first_frame_s),
                "imports_s": median(self.imports_s),
                "first_frame_s": median(self.first_frame_s),
                "first_frame_max_s": max(self.first_frame_s),
                "ratio": median(ratios),
            }
        ]


def peak_memory(model: str, clip: Path, name: str, frames: int) -> Row:
    """Peak memory of a process that scores a clip at the model's own region.

    Raises:
        PatchwatchError: it failed.
    """
    ended = run_python(scoring(model, clip, "--frames", str(frames)))
    return {"part": "memory", "clip": name, "frames": frames, "peak_mb": ended.peak_mb}


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_share(model: str, clip: Path, name: str) -> Row:
    """Processor time of watching a clip at its own speed, start-up left out.

    Raises:
        PatchwatchError: the watching process failed.
    """
    used = json.loads(run_python(["-m", "benchmarks.end_to_end.watch", model, str(clip)]).output)
    share = (used["user_s"] + used["system_s"]) / used["wall_s"] / cores()
    return {"part": "cpu", "clip": name, "cores": cores(), **used, "share": share}
