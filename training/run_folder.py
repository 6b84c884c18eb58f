"""The folder of one run: never another's, and resumed with what it was begun with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edge.errors import ConfigError, SinkError
from edge.files import written_whole

CONFIG = "config.json"


def require_usable(folder: Path, config: BaseModel, resume: bool) -> None:
    """Check a run folder before any work is done.

    Args:
        folder: of the run.
        config: of this training.
        resume: it was begun with the same configuration; else it must be new or empty.

    Raises:
        SinkError: it is not empty.
        ConfigError: nothing was begun there, or it was begun otherwise.
    """
    if resume:
        _require_same(folder / CONFIG, config)
    elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SinkError(
            f"{folder} exists and is not empty. Name a new folder for this run, or go on with the "
            "one that is there: --resume."
        )


def begin(folder: Path, config: BaseModel) -> None:
    """Make the folder and write down what it is begun with.

    Raises:
        SinkError: it cannot be written.
    """
    with written_whole(folder / CONFIG, (config.model_dump_json(indent=2) + "\n").encode()):
        pass


def _require_same(path: Path, config: BaseModel) -> None:
    try:
        begun = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--resume: expected a run that was begun, found no {path} that can be read. Name "
            "another folder, or leave out --resume."
        ) from error
    now = json.loads(config.model_dump_json())
    for key, before, after in _differences(begun, now, ""):
        raise ConfigError(
            f"--resume: {path.parent} was begun with {key} {before!r}, found {after!r}. Resume "
            "with the configuration that it was begun with, or name a new folder."
        )


def _differences(before: Any, after: Any, key: str) -> Iterator[tuple[str, object, object]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            inner = f"{key}.{name}" if key else name
            yield from _differences(before.get(name), after.get(name), inner)
    elif before != after:
        yield key, before, after
