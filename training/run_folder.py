"""The folder of one run: never another's, and resumed with its own configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edge.errors import ConfigError, SinkError
from edge.files import write_whole
from edge.schema import fault

CONFIG = "config.json"

_LENGTHS = ("steps", "epochs")
_WITHOUT_END = ("constant", "plateau")
"""Schedules whose rate does not depend on how many steps there are."""


def require_usable(folder: Path, config: BaseModel, resume: bool) -> None:
    """Check a run folder before any work is done.

    Args:
        folder: of the run.
        config: of this training.
        resume: it was started with the same configuration, but for more steps where the schedule
            allows it; else it must be new or empty.

    Raises:
        SinkError: it is not empty.
        ConfigError: nothing was started there, or with another configuration.
    """
    if resume:
        _require_same(folder / CONFIG, config)
    elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SinkError(
            f"{folder} exists and is not empty. Name a new folder for this run, or go on with the "
            "one that is there: --resume."
        )


def begin(folder: Path, config: BaseModel) -> None:
    """Make the folder and write the configuration into it, else a SinkError."""
    write_whole(folder / CONFIG, config.model_dump_json(indent=2) + "\n")


def is_resumable(folder: Path) -> bool:
    """Whether a run was started there and left a checkpoint."""
    return (folder / CONFIG).is_file() and (folder / "last.ckpt").is_file()


def _require_same(path: Path, config: BaseModel) -> None:
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--resume: expected a started run, found no {path} that can be read. Name another "
            "folder, or leave out --resume."
        ) from error
    try:  # fills in keys that are newer than the run
        before = json.loads(type(config).model_validate(before).model_dump_json())
    except ValidationError as error:
        raise ConfigError(
            f"--resume: {path} is of an earlier version: {fault(error, CONFIG)}. "
            "Train again into a new folder."
        ) from error
    now = json.loads(config.model_dump_json())
    schedule = now.get("schedule")
    for key, old, new in _differences(before, now, ""):
        advice = "Resume with its own configuration, or name a new folder."
        if schedule and key in _LENGTHS and new > old:
            if schedule in _WITHOUT_END:
                continue
            advice = (
                f"The schedule {schedule} falls to its last step and has no more. Name a new "
                f"folder and start from {path.parent / now['name']}.safetensors with init."
            )
        raise ConfigError(
            f"--resume: {path.parent} was started with {key} {old!r}, found {new!r}. {advice}"
        )


def _differences(before: Any, after: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            inner = f"{key}.{name}" if key else name
            yield from _differences(before.get(name), after.get(name), inner)
    elif before != after:
        yield key, before, after
