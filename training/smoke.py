"""Go the whole way once, small: make pictures, check, train, distil, export and evaluate them.

About a minute on one core. Every step is the command that a person would run; OUT keeps what each
of them left, with what it said in NAME.log. The exit code is 0 if the exported student tells the
made-up fakes of the validation pictures from their photographs (mean AUC of at least 0.75 over
generators, untouched), else 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edge.errors import PatchwatchError, SinkError
from edge.signals import Stopped, stop_signals
from edge.terminal import console
from training.degrade import UNTOUCHED
from training.evaluation.metrics import AUC
from training.evaluation.summary import read_summary
from training.made_pictures import write_split
from training.program import run_program

LEAST_AUC = 0.75
SIDE, PER_CAMERA, PER_CAMERA_VAL = 96, 12, 8
PATIENCE_S = 20.0
ENDING_LINES = 5
STAGES = 6

_COMMON = """
batch: 16
rate: 0.02
schedule: cosine
policy: {untouched: 0.5, two: 0, single: {jpeg: 1}, jpeg_quality: [85, 98]}
data: {crop: 64, first_compression: false}
validation: {columns: [untouched, JPEG 90], calibration: [untouched, JPEG 90], report: [untouched]}
"""
# A small teacher: LaDeDa learns nothing in the seconds that there are.
CONFIGS = MappingProxyType(
    {
        "teacher": "name: teacher\npreprocessing: NPR\nsteps: 240\nvalidate_every: 120" + _COMMON,
        "student": "name: student\npreprocessing: right_diag\nsteps: 240\nvalidate_every: 120\n"
        "teaching: {loss: bce, temperature: 2, weight: 0.7, agreement: 8}" + _COMMON,
    }
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A command of the way, and what it came to."""

    name: str
    seconds: float
    told: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that is made, or empty")


def run(args: argparse.Namespace) -> int:
    """Go the way; prints one table.

    Returns:
        The exit code: 0 learned, 1 not, 128 + signal when stopped before.

    Raises:
        PatchwatchError: a command failed.
        SinkError: OUT has something in it, or cannot be written to.
    """
    out: Path = args.out
    _require_empty(out)
    stages: list[Stage] = []
    try:
        with stop_signals(), _bar() as progress:
            task = progress.add_task("making pictures", total=STAGES)
            for stage in _stages(out, lambda text: progress.update(task, description=text)):
                stages.append(stage)
                progress.advance(task)
    except Stopped as stopped:
        console().print("Stopped; what was done so far is kept.")
        return stopped.exit_code
    summary = read_summary(out / "figures.json")[0]
    aucs = {model.name: model.columns[UNTOUCHED].mean[AUC] for model in summary.models}
    return _judged(stages, {name: found[0] for name, found in aucs.items() if found})


def _require_empty(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SinkError(f"{out} exists and is not empty. Name a new folder.")


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    off = not console().is_terminal
    return Progress(*columns, TimeRemainingColumn(), console=console(), transient=True, disable=off)


def _stages(out: Path, on_start: Callable[[str], None]) -> Iterator[Stage]:
    data, teacher, student = out / "data", out / "teacher", out / "student"
    started = time.monotonic()
    write_split(data / "train", PER_CAMERA, SIDE, seed=1)
    write_split(data / "val", PER_CAMERA_VAL, SIDE, seed=2)
    for name, text in CONFIGS.items():
        (out / f"{name}.yaml").write_text(text, encoding="utf-8")
    yield Stage("make pictures", time.monotonic() - started, f"{data}")
    weights = {p: str(p / f"{p.name}.safetensors") for p in (teacher, student)}
    model = str(out / "student.onnx")
    for words in (
        ["data", "check", str(data), "--cache", str(out / "cache")],
        ["train", str(out / "teacher.yaml"), *_training(data, teacher)],
        ["distill", str(out / "student.yaml"), *_training(data, student),
         "--teacher", weights[teacher]],
        ["export", weights[student], "--output", model],
        ["evaluate", weights[teacher], model, str(data), "--columns", UNTOUCHED,
         "--threads", "1", "--compact", str(out / "figures.json")],
    ):  # fmt: skip
        on_start(f"patchwatch {words[0]}")
        yield _ran(words, out)


def _training(data: Path, run: Path) -> list[str]:
    machine = ["--device", "cpu", "--threads", "1", "--workers", "0", "--experiments", "none"]
    return ["--data", str(data), "--output", str(run), "--licence", "none", *machine]


def _ran(words: Sequence[str], out: Path) -> Stage:
    """Run a command of patchwatch; what it says goes to a file, and on failure to the person."""
    log, started = out / f"{words[0]}.log", time.monotonic()
    code = _waited(words, log)
    if code:
        ending = log.read_text(encoding="utf-8", errors="replace").splitlines()[-ENDING_LINES:]
        told = "\n".join(ending)
        raise PatchwatchError(f"patchwatch {words[0]} gave exit code {code}; {log} ends:\n{told}")
    return Stage(f"patchwatch {words[0]}", time.monotonic() - started, f"{log}")


def _waited(words: Sequence[str], log: Path) -> int:
    command = [sys.executable, "-m", "patchwatch", *words]
    environment = {**os.environ, "COLUMNS": "120"}
    with log.open("wb") as told:
        # In a session of its own, so that Ctrl-C reaches it once, from here.
        process = subprocess.Popen(
            command, stdout=told, stderr=told, env=environment, start_new_session=True
        )
        try:
            return process.wait()
        except Stopped:
            process.send_signal(signal.SIGINT)
            _end(process)
            raise


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _judged(stages: Sequence[Stage], aucs: dict[str, float]) -> int:
    table = Table("Step", "Seconds", "Left", title="The whole way, on made-up pictures")
    for stage in stages:
        table.add_row(stage.name, f"{stage.seconds:.1f}", stage.told)
    table.add_row("in all", f"{sum(stage.seconds for stage in stages):.1f}", "", style="bold")
    for name, auc in aucs.items():
        table.add_row(f"mean AUC of {name}", "", f"{auc:.3f}", style="bold")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    student = next((auc for name, auc in aucs.items() if "student" in name), 0.0)
    if student >= LEAST_AUC:
        return 0
    console().print(
        f"Expected the student's mean AUC to be {LEAST_AUC} or more; found {student:.3f}."
    )
    return 1


if __name__ == "__main__":
    sys.exit(run_program("training.smoke", __doc__, add_arguments, run))
