"""`evaluation.json`: every logit of every model by picture, so that reports come from it alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from edge.errors import UsageError
from edge.manifest import Calibration
from training.data.folders import Picture
from training.evaluation.measured import Evaluation, Logits

SCHEMA = 1
FILE = "evaluation.json"


class Part(BaseModel):
    """A piece of a file of ours: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Item(Part):
    """One labelled picture or video."""

    data: int = Field(ge=0, description="Index of its folder in `data`.")
    path: str = Field(description="Below that folder, with forward slashes.")
    label: Literal[0, 1] = Field(description="Real 0, fake 1.")
    source: str
    video: bool = False
    frames: int = Field(default=1, ge=1, description="Pictures that were judged of it.")


class ModelFacts(Part):
    """What was judged."""

    name: str
    file: str = Field(description="Its name without folders.")
    sha256: str
    region: str
    calibration: Calibration
    parameters: int | None = None
    architecture: str | None = Field(default=None, description="Null where it was not recorded.")
    preprocessing: str | None = None


class Judged(ModelFacts):
    """A model with what it said."""

    logits: dict[str, list[float | None]] = Field(
        description="Degradation → logits of all frames of all items in order; null: none."
    )
    failure: str | None = Field(default=None, description="Why the first null, if there is one.")


class Record(Part):
    """All that was measured in one evaluation."""

    # "schema" is a method of pydantic's models, so the field has another name than its key.
    schema_number: Literal[1] = Field(default=1, alias="schema")
    theme: Literal["evaluation"] = "evaluation"
    time: str = Field(description="When it was begun, UTC, ISO 8601.")
    commit: str | None
    seed: int = Field(ge=0, description="Of the intervals.")
    fps: float | None = Field(description="Frames per second taken from videos; null: no video.")
    columns: tuple[str, ...]
    data: tuple[str, ...] = Field(description="Folders as they were given.")
    items: tuple[Item, ...]
    rejected: tuple[str, ...] = Field(description="A sentence for each file that was left out.")
    models: tuple[Judged, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        frames = sum(item.frames for item in self.items)
        for model in self.models:
            if set(model.logits) != set(self.columns):
                raise ValueError(f"{model.name} has other degradations than the file")
            if any(len(logits) != frames for logits in model.logits.values()):
                raise ValueError(f"{model.name} does not have {frames} logits each")
        if any(item.data >= len(self.data) for item in self.items):
            raise ValueError("an item's folder is not listed")
        return self

    def path(self, item: Item) -> Path:
        """Where an item's file lay."""
        return Path(self.data[item.data]) / item.path

    def evaluation(self, model: Judged) -> Evaluation:
        """A logit for each item: of a video the mean over its frames that gave one."""
        pictures = tuple(Picture(self.path(i), i.label, i.source) for i in self.items)
        return Evaluation(pictures, {name: self._by_item(model, name) for name in self.columns})

    def frame_evaluation(self, model: Judged) -> Evaluation:
        """A logit for each frame, each frame standing as a picture of its own."""
        pictures = tuple(
            Picture(self.path(i), i.label, i.source) for i in self.items for _ in range(i.frames)
        )
        return Evaluation(pictures, {name: flat(model, name) for name in self.columns})

    def has_videos(self) -> bool:
        """Whether some item has several frames."""
        return any(item.video for item in self.items)

    def _by_item(self, model: Judged, column: str) -> Logits:
        return np.array([_mean(frames) for frames in self._frames(model, column)])

    def _frames(self, model: Judged, column: str) -> Iterator[Logits]:
        logits = flat(model, column)
        ends = list(accumulate(item.frames for item in self.items))
        for item, end in zip(self.items, ends, strict=True):
            yield logits[end - item.frames : end]


def flat(model: Judged, column: str) -> Logits:
    """Logits of all frames of all items, float64, NaN where there is none."""
    return np.array([math.nan if x is None else x for x in model.logits[column]], dtype=np.float64)


def read_record(path: Path) -> Record:
    """Read an `evaluation.json`.

    Raises:
        UsageError: absent, not such a file, of another schema, or broken.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(
            f"{path}: expected an {FILE} of 'patchwatch evaluate' with schema {SCHEMA}; "
            f"{key}: {first['msg']}."
        ) from error


def write_text(record: Record) -> str:
    """The file's text."""
    return record.model_dump_json(by_alias=True) + "\n"


def now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _mean(logits: Logits) -> float:
    finite = logits[np.isfinite(logits)]
    return float(finite.mean()) if len(finite) else math.nan
