"""Whole processes: how long they take, their peak memory, and the processor time of watching."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.section import Row
from edge.cpus import find_cpus
from edge.errors import PatchwatchError

_LAUNCH = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
output = child.stdout.read().decode(errors="replace")
_, status, usage = os.wait4(child.pid, 0)
child.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([time.perf_counter() - start, usage.ru_maxrss, child.returncode, output]))
"""
"""Linux counts towards a program's peak memory what its parent held when it started it, so a parent
that holds clips would be measured itself. This one is small; it imports next to nothing."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended well: its time, its peak memory (10⁶ bytes) and what it printed."""

    wall_s: float
    peak_mb: float
    output: str


def run_python(*arguments: str) -> Ended:
    """Run this Python with arguments; ended with us if we are interrupted.
    Raises PatchwatchError: it failed; says with which last words.
    """
    # Isolated, so that the launcher itself stays small; a session, so that it ends with its child.
    command = [sys.executable, "-I", "-S", "-c", _LAUNCH, sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as launcher:
        try:
            printed, _ = launcher.communicate()
        except BaseException:
            os.killpg(launcher.pid, signal.SIGKILL)
            raise
    wall_s, peak, code, output = json.loads(printed)
    if code:
        last = (output.strip().splitlines() or ["it said nothing"])[-1]
        raise PatchwatchError(f"'python {' '.join(arguments)}' failed: {last}")
    return Ended(wall_s, peak * (1 if sys.platform == "darwin" else 1024) / 1e6, output)


def watch(model: str, clip: str, still: str) -> None:
    """Watch a clip at its own speed, and a still one with and without what a live source keeps of
    its evidence, and print as JSON what processor time each took.

    For a process of its own, so that the time of nothing else is counted; opened and warm before
    the counting begins.
    Raises PatchwatchError: the model or a clip cannot be used.
    """
    from edge.backends import BackendChoice, open_backend
    from edge.config.parts import VerdictConfig
    from edge.detector import Detector
    from edge.pace import Pacer
    from edge.pipeline import Pipeline, scored_evidence
    from edge.regions import parse_region
    from edge.sources import open_recording
    from edge.weights import find_model

    settings = VerdictConfig()
    with open_backend(find_model(model), choice=BackendChoice("auto")) as backend:
        region = parse_region(backend.manifest.region)
        with open_recording(clip) as source:
            first = next(frame.image for frame in source if frame is not None)
            scored_evidence(Detector(backend, region), first)
        for path, reuse in ((clip, None), (still, settings.reuse_of()), (still, None)):
            with open_recording(path) as source:
                detector = Detector(backend, region, reuse=reuse)
                pipeline = Pipeline(source, detector, [], settings, pacer=Pacer())
                before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
                summary = pipeline.run()
                after, wall_s = (
                    resource.getrusage(resource.RUSAGE_SELF),
                    time.perf_counter() - began,
                )
            user_s, system_s = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            figures = {
                "wall_s": wall_s,
                "user_s": user_s,
                "system_s": system_s,
                "frames": summary.frames,
                "asked": summary.frames - summary.unchanged,
                "fps": summary.frames / wall_s,
                "processor_ms": 1e3 * (user_s + system_s) / summary.frames,
                "states": summary.states,
            }
            print(json.dumps(figures))


def processor_share(model: str, clip: Path, quick: bool) -> Row:
    """Processor time of watching a clip at its own speed, start-up left out, and of watching a
    still scene of 1080p beside that of asking the model for every frame of it.
    Raises PatchwatchError: the watching process failed.
    """
    from benchmarks.film import FULL_HD, write_clip

    still = write_clip(clip.with_name("still.mp4"), FULL_HD, 12 if quick else 120, step_px=0)
    script = f"from benchmarks.processes import watch; watch{(model, str(clip), str(still))}"
    used, kept, every = map(json.loads, run_python("-c", script).output.splitlines())
    cores = find_cpus().usable
    share = (used["user_s"] + used["system_s"]) / used["wall_s"] / cores
    row = {"part": "cpu", "cores": cores, **used, "share": share}
    return {**row, "still_kept": kept, "still_every": every}


def peak_memory(model: str, clip: Path, quick: bool) -> Row:
    """Peak memory of a process that scores a clip at the model's own region.
    Raises PatchwatchError: it failed.
    """
    ended = run_python(*_scoring(model, clip), "--frames", "30")
    return {"part": "memory", "peak_mb": ended.peak_mb}


def cold_start(model: str, clip: Path, quick: bool) -> Row:
    """From a command to its first scored frame, beside the imports that it cannot do without.
    Raises PatchwatchError: one of them failed.
    """
    imports_s, first_s = [], []
    for _ in range(1 if quick else 5):
        imports_s.append(run_python("-c", "import cv2, onnxruntime").wall_s)
        first_s.append(run_python(*_scoring(model, clip), "--frames", "1").wall_s)
    return {
        "part": "start",
        "rounds_imports_s": imports_s,
        "rounds_first_frame_s": first_s,
        "imports_s": median(imports_s),
        "first_frame_s": median(first_s),
    }


def _scoring(model: str, clip: Path) -> tuple[str, ...]:
    run = ("-m", "patchwatch", "run", str(clip), "--model", model)
    return (*run, "--headless", "--quiet")
