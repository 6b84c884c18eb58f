"""Flags that several commands of training take, each declared once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge.cpus import thread_limit
from edge.labels import STANDARD, LabelFolders
from edge.terminal import positive
from training.settings import DEVICES


def rate(text: str) -> float:
    """A number above 0 from the command line, of frames per second."""
    try:
        if 0 < (value := float(text)) <= 1000:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number above 0, at most 1000; found {text!r}.")


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, found {text!r}.")
    return int(text)


_FLAGS: dict[str, dict[str, Any]] = {
    "--data": {
        "type": Path,
        "metavar": "PATH",
        "help": "folder with train/ and val/; before data.path",
    },
    "--licence": {"metavar": "TEXT", "help": "of the weights, for the card"},
    "--resume": {"action": "store_true", "help": "go on from RUN's last checkpoint"},
    "--set": {
        "nargs": "+",
        "default": [],
        "metavar": "KEY=VALUE",
        "help": "overrides the file, the value as YAML: --set steps=500 data.crop=64",
    },
    "--experiments": {
        "metavar": "URI",
        "help": "MLflow's tracking URI, or none (default: $MLFLOW_TRACKING_URI, else mlflow.db "
        "beside the run; without MLflow there is log.csv alone)",
    },
    "--base": {"type": Path, "metavar": "SET", "help": "of FaceForensics++"},
    "--augment": {"type": Path, "metavar": "SET", "help": "of the YouTube videos"},
    "--both": {"type": Path, "metavar": "SET", "help": "of the two together"},
    "--device": {
        "choices": DEVICES,
        "default": "auto",
        "help": "auto (default): a GPU if there is one",
    },
    "--devices": {
        "type": positive,
        "default": 1,
        "metavar": "N",
        "help": "processes that share each step, each on its own GPU (default: 1)",
    },
    "--nodes": {
        "type": positive,
        "default": 1,
        "metavar": "N",
        "help": "machines that do (default: 1)",
    },
    "--workers": {
        "type": _not_negative,
        "default": 1,
        "metavar": "N",
        "help": "processes that prepare samples; 0 for none (default: %(default)s)",
    },
    "--threads": {
        "type": positive,
        "metavar": "N",
        "default": thread_limit(),
        "help": "threads of torch, or of an operator (default: all cores that may be used)",
    },
    "--seed": {"type": int, "metavar": "N", "help": "in place of the file's"},
    "--fps": {
        "type": rate,
        "default": 1.0,
        "metavar": "N",
        "help": "frames per second (default: %(default)g)",
    },
    "--sources": {
        "type": Path,
        "metavar": "F.json",
        "help": "list of sources with group, year and matched source, for tables by these",
    },
    "--png": {"action": "store_true", "help": "PNG instead of JPEG of quality 95"},
}
SETS = ("--base", "--augment", "--both")


def label_settings(labels: LabelFolders) -> list[str]:
    """What --label-folders says in place of a file, as of --set."""
    return [f"data.label_folders={labels.model_dump_json()}"] if labels != STANDARD else []


def add_flags(parser: Any, *names: str, **changes: Any) -> None:
    """Declare flags of the table in a parser or a group, with changes for all of these."""
    for name in names:
        parser.add_argument(name, **{**_FLAGS[name], **changes})
