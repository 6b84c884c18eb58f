"""Go the whole way once, small: make pictures, check, train, distil, export and evaluate them.

About a minute on one core. Every step is the command that a person would run; OUT keeps what each
of them left, with its messages in NAME.log. The exit code is 0 if the exported student tells the
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
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from edge.errors import PatchwatchError, SinkError
from edge.signals import Stopped, stop_signals
from edge.terminal import console
from training.degrade import UNTOUCHED
from training.evaluation.metrics import AUC
from training.evaluation.summary import read_summary
from training.made_pictures import write_split
from training.program import run_program
from training.progress import progress_bar

LEAST_AUC = 0.75
SIDE, PER_CAMERA, PER_CAMERA_VAL = 96, 12, 8
PATIENCE_S = 20.0
ENDING_LINES = 5

_COMMON = """
batch: 16
rate: 0.02
schedule: cosine
steps: 240
validate_every: 120
policy: {untouched: 0.5, two: 0, single: {jpeg: 1}, jpeg_quality: [85, 98]}
data: {crop: 64, first_compression: false}
validation: {columns: [untouched, JPEG 90], calibration: [untouched, JPEG 90], report: [untouched]}
"""
# A small teacher: LaDeDa learns nothing in the seconds that there are.
CONFIGS = MappingProxyType(
    {
        "teacher": "name: teacher\npreprocessing: NPR" + _COMMON,
        "student": "name: student\npreprocessing: right_diag\n"
        "teaching: {loss: bce, temperature: 2, weight: 0.7, agreement: 8}" + _COMMON,
    }
)


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
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SinkError(f"{out} exists and is not empty. Name a new folder.")
    table = Table("Step", "Seconds", "Left", title="The whole way, on made-up pictures")
    start = time.monotonic()
    write_split(out / "data" / "train", PER_CAMERA, SIDE, seed=1)
    write_split(out / "data" / "val", PER_CAMERA_VAL, SIDE, seed=2)
    for name, text in CONFIGS.items():
        (out / f"{name}.yaml").write_text(text, encoding="utf-8")
    commands = _commands(out)
    try:
        with stop_signals(), progress_bar() as progress:
            task = progress.add_task("", total=len(commands), note="")
            for words in commands:
                progress.update(task, description=f"patchwatch {words[0]}")
                started = time.monotonic()
                log = _run(words, out)
                table.add_row(f"patchwatch {words[0]}", f"{time.monotonic() - started:.1f}", log)
                progress.advance(task)
    except Stopped as stopped:
        console().print("Stopped; what was done so far is kept.")
        return stopped.exit_code
    table.add_row("in all", f"{time.monotonic() - start:.1f}", "", style="bold")
    return _judged(out, table)


def _commands(out: Path) -> list[list[str]]:
    data, model = str(out / "data"), str(out / "student.onnx")
    machine = ["--device", "cpu", "--threads", "1", "--workers", "0", "--experiments", "none"]
    common = ["--data", data, "--licence", "none", *machine]
    teacher = str(out / "teacher" / "teacher.safetensors")
    return [
        ["data", "check", data, "--cache", str(out / "cache")],
        ["train", str(out / "teacher.yaml"), "--output", str(out / "teacher"), *common],
        ["distill", str(out / "student.yaml"), "--output", str(out / "student"), *common,
         "--teacher", teacher],
        ["export", str(out / "student" / "student.safetensors"), "--output", model],
        ["evaluate", teacher, model, data, "--columns", UNTOUCHED, "--threads", "1",
         "--compact", str(out / "figures.json")],
    ]  # fmt: skip


def _run(words: Sequence[str], out: Path) -> str:
    """Run a command of patchwatch; its messages go to a file, and on failure to the person."""
    log = out / f"{words[0]}.log"
    with log.open("wb") as file:
        # In a session of its own, so that Ctrl-C reaches it once, from here.
        process = subprocess.Popen(
            [sys.executable, "-m", "patchwatch", *words],
            stdout=file,
            stderr=file,
            env={**os.environ, "COLUMNS": "120"},
            start_new_session=True,
        )
        try:
            code = process.wait()
        except Stopped:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-ENDING_LINES:]
        ending = "\n".join(lines)
        raise PatchwatchError(f"patchwatch {words[0]} gave exit code {code}; {log} ends:\n{ending}")
    return str(log)


def _judged(out: Path, table: Table) -> int:
    summary = read_summary(out / "figures.json")[0]
    aucs = {model.name: model.columns[UNTOUCHED].mean[AUC] for model in summary.models}
    found = {name: auc[0] for name, auc in aucs.items() if auc}
    for name, auc in found.items():
        table.add_row(f"mean AUC of {name}", "", f"{auc:.3f}", style="bold")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    student = next((auc for name, auc in found.items() if "student" in name), 0.0)
    if student >= LEAST_AUC:
        return 0
    console().print(
        f"Expected the student's mean AUC to be {LEAST_AUC} or more; found {student:.3f}."
    )
    return 1


if __name__ == "__main__":
    sys.exit(run_program("training.smoke", __doc__, add_arguments, run))
