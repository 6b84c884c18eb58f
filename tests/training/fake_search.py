"""A search whose trainings take no time, can be held in the middle, and go on where they were.

Run as a program it is `patchwatch search` with such trainings.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import patchwatch
from edge.errors import ModelError
from edge.signals import Stopped
from tests.training.faces.face_sets import write_faces
from training.faces.config import FacesConfig
from training.faces.train import TrainedFaces

EPOCHS = 4
HOLD = "FAKE_TRAINING_HOLD"
"""Names the trial's folder that is held in its third epoch; absent: none."""


def train(
    config: FacesConfig,
    sets: Mapping[str, object],
    run: Path,
    *,
    out: Any,
    resume: bool,
    on_epoch: Callable[[int, float], None],
    **options: object,
) -> TrainedFaces:
    """Scores more with more dropout; what an epoch did is on the disk before it is reported."""
    run.mkdir(exist_ok=True)
    checkpoint = run / "faces.safetensors"
    for name in ("config.json", "last.ckpt", checkpoint.name, "faces.json"):
        (run / name).write_text(f"{name} of {run.name}")
    journal = run / "epochs.json"
    epochs = json.loads(journal.read_text()) if resume else []
    for epoch in range(len(epochs) + 1, EPOCHS + 1):
        if epoch == 3 and os.environ.get(HOLD) == run.name:
            (run.parent / "held").write_text(str(os.getpid()))
            try:
                while True:
                    time.sleep(0.05)
            except Stopped as stopped:
                return TrainedFaces(checkpoint, code=stopped.exit_code)
        epochs.append([epoch, os.getpid()])
        journal.write_text(json.dumps(epochs))
        figures = {"base": {"auc": config.dropout * epoch / EPOCHS}}
        on_epoch(epoch, config.dropout * epoch / EPOCHS)
    return TrainedFaces(checkpoint, config.dropout, figures)


def fails(*_: object, **options: object) -> TrainedFaces:
    """As one that no setting makes better."""
    raise ModelError("the loss is nan at step 1.\nMore of it.")


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
    kept = {"first_trials": 6, "heartbeat_s": 1, "silence_s": 2, **options}
    config = folder / "search.yaml"
    config.write_text(
        json.dumps({"training": "training.yaml", "trials": trials, "space": space, **kept})
    )
    return config


def words(folder: Path, storage: str, *more: str) -> list[str]:
    """The command line of a search that `write_search` wrote."""
    sets = ["--base", str(folder / "base"), "--augment", str(folder / "augment")]
    kept = ["--storage", storage, "--licence", "none", "--experiments", "none"]
    output = ["--output", str(folder / "runs")]
    return ["search", str(folder / "search.yaml"), *kept, *sets, *output, *more]


def search(command_line: list[str], training: Callable[..., TrainedFaces] = train) -> int:
    """As `patchwatch search`, with another training."""
    with patch("training.search.train_faces", training):
        return patchwatch.main(command_line)


if __name__ == "__main__":
    sys.exit(search(sys.argv[1:]))
