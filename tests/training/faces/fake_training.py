"""A training that takes no time, can be held in the middle, and goes on where it was killed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edge.errors import ModelError, PatchwatchError
from patchwatch import make_parser
from tests.training.faces.face_sets import write_faces
from training.faces.search import search
from training.faces.storage import parse_address, require_optuna
from training.faces.trials import Epoch, Job, OnEpoch, Outcome, Train

EPOCHS = 4
HOLD = "FAKE_TRAINING_HOLD"
"""Names the trial's folder that is held in its third epoch; absent: none."""


def train(job: Job, on_epoch: OnEpoch) -> Outcome:
    """Scores more with more dropout; what an epoch did is on the disk before it is told of."""
    job.folder.mkdir(parents=True, exist_ok=True)
    journal = job.folder / "epochs.json"
    epochs = json.loads(journal.read_text()) if journal.exists() else []
    for epoch in range(len(epochs) + 1, EPOCHS + 1):
        if epoch == 3:
            _held(job.folder)
        epochs.append([epoch, os.getpid()])
        journal.write_text(json.dumps(epochs))
        on_epoch(Epoch(epoch, _score(job, epoch), _files(job.folder), epoch == EPOCHS))
    checkpoint, _, picture = _files(job.folder)
    return Outcome(_score(job, EPOCHS), {"base auc": 0.5}, checkpoint, [picture])


def fails(job: Job, on_epoch: OnEpoch) -> Outcome:
    """As one that no setting makes better."""
    raise ModelError("the loss is nan at step 1.\nMore of it.")


def is_killed(job: Job, on_epoch: OnEpoch) -> Outcome:
    """As by the kernel, where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still there")


def _held(folder: Path) -> None:
    if os.environ.get(HOLD) == folder.name:
        (folder.parent / "held").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)


def _score(job: Job, epoch: int) -> float:
    return float(job.settings["dropout"]) * epoch / EPOCHS


def _files(folder: Path) -> list[Path]:
    files = [folder / name for name in ("faces.safetensors", "faces.json", "metrics.png")]
    for path in files:
        path.write_bytes(f"{path.suffix} of {folder.name}".encode())
    return files


def write_search(folder: Path, trials: int = 6, **options: object) -> Path:
    """A configuration with its training and its sets, `base` and `augment`, in a folder."""
    write_faces(folder / "base", "faceforensics", videos=1, faces=1)
    write_faces(folder / "augment", "youtube", videos=1, faces=1)
    (folder / "training.yaml").write_text("{kind: faces, name: faces, init: null}")
    space = {
        "dropout": {"low": 0.1, "high": 0.9},
        "schedule": {"choices": ["constant", "one_cycle"]},
        "hidden": {"choices": [None, 256]},
        "epochs": {"low": 10, "high": 20, "step": 5},
    }
    kept = {"first_trials": 6, "heartbeat_s": 1, "silence_s": 3, **options}
    config = folder / "search.yaml"
    config.write_text(
        json.dumps({"training": "training.yaml", "trials": trials, "space": space, **kept})
    )
    return config


def words(folder: Path, storage: str, *more: str) -> list[str]:
    """The command line of a search that `write_search` wrote."""
    given = [str(folder / "search.yaml"), "--storage", storage, "--licence", "none"]
    sets = ["--base", str(folder / "base"), "--augment", str(folder / "augment")]
    return [*given, *sets, "--output", str(folder / "runs"), *more]


def parsed(command_line: Sequence[str]) -> argparse.Namespace:
    """The flags of `patchwatch search`."""
    return make_parser("search").parse_args(command_line)


def carry_out(command_line: Sequence[str], training: Train = train) -> int:
    """As `patchwatch search`, with another training."""
    args = parsed(command_line)
    require_optuna()
    return search(args, parse_address(args.storage), training)


if __name__ == "__main__":
    try:
        # Not what this file is when it runs as a program, which no other process could import.
        from tests.training.faces.fake_training import train as importable

        sys.exit(carry_out(sys.argv[1:], importable))
    except PatchwatchError as error:
        sys.exit(f"patchwatch: error: {error}")
