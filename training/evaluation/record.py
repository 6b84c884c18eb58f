"""Logits of labelled pictures: in memory, and as `evaluation.json`, from which all reports come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from typing_extensions import Self

from edge.errors import SourceError, UsageError
from edge.manifest import Calibration
from edge.schema import Strict, fault
from edge.sources.images import read_image
from edge.types import Image
from training.data.folders import Picture
from training.degrade import COLUMNS
from training.files import reading

if TYPE_CHECKING:
    from training.models import PatchModel

FILE = "evaluation.json"
NAMED = 12
"""Sources of a label that are named one by one at most."""

Logits = npt.NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Logits of pictures under each degradation.

    Attributes:
        pictures: in order.
        logits: per degradation, float64 [pictures]; NaN where the model gave none.
    """

    pictures: tuple[Picture, ...]
    logits: Mapping[str, Logits]

    def of_label(self, column: str, label: int) -> Logits:
        """Logits of all pictures of a label under a degradation."""
        return self.logits[column][[p.label == label for p in self.pictures]]

    def of_source(self, column: str, label: int, source: str) -> Logits:
        """Logits of the pictures of one source under a degradation."""
        return self.by_source(column, label).get(source, np.zeros(0))

    def by_source(self, column: str, label: int) -> dict[str, Logits]:
        """Logits of each source of a label under a degradation, by name."""
        places: dict[str, list[int]] = {}
        for place, picture in enumerate(self.pictures):
            if picture.label == label:
                places.setdefault(picture.source, []).append(place)
        return {name: self.logits[column][places[name]] for name in sorted(places)}

    def restricted_to(self, columns: Sequence[str]) -> Evaluation:
        """The same pictures under some of the degradations."""
        return Evaluation(self.pictures, {name: self.logits[name] for name in columns})

    def where(self, kept: npt.ArrayLike) -> Evaluation:
        """Some of the pictures under the same degradations; one flag for each picture."""
        mask = np.asarray(kept, dtype=bool)
        pictures = tuple(p for p, keep in zip(self.pictures, mask, strict=True) if keep)
        return Evaluation(pictures, {name: x[mask] for name, x in self.logits.items()})

    def without_source(self, label: int, source: str) -> Evaluation:
        """All pictures but those of one source."""
        return self.where([(p.label, p.source) != (label, source) for p in self.pictures])

    def finite(self, column: str | None = None) -> Evaluation:
        """The pictures whose logit is finite, under a degradation or under every one."""
        logits = [self.logits[column]] if column else list(self.logits.values())
        return self.where(np.isfinite(np.stack(logits)).all(axis=0))

    def describe(self) -> str:
        """The sources of both labels, in one line; where there are many, how many."""
        parts = []
        for label, word in enumerate(("sources of photographs", "generators")):
            names = self.source_names(label)
            parts.append(", ".join(names) if len(names) <= NAMED else f"{len(names)} {word}")
        return " and ".join(part for part in parts if part)

    def source_names(self, label: int) -> list[str]:
        """Sources of a label, by name."""
        return sorted({p.source for p in self.pictures if p.label == label})

    def generator_aucs(self, column: str) -> dict[str, float]:
        """AUC of each generator against all photographs under a degradation."""
        reals = self.of_label(column, 0)
        return {name: auc(reals, fakes) for name, fakes in self.by_source(column, 1).items()}

    def mean_auc(self, columns: Sequence[str] | str) -> float:
        """Mean over degradations of the mean over generators; NaN where there is none."""
        names = [columns] if isinstance(columns, str) else columns
        aucs = [list(self.generator_aucs(name).values()) for name in names]
        return float(np.mean(aucs)) if aucs and aucs[0] else math.nan


def auc(reals: Logits, fakes: Logits) -> float:
    """Area under the ROC curve, ties counted half; NaN where a side is empty."""
    if not len(reals) or not len(fakes):
        return math.nan
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    return float(roc_auc_score(labels, np.concatenate([reals, fakes])))


def evaluate(
    model: PatchModel,
    pictures: Sequence[Picture],
    columns: Sequence[str],
    view: Callable[[Image], Image] = lambda image: image,
    on_picture: Callable[[], None] = lambda: None,
    on_lost: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score pictures under each degradation with a network in memory, as a training does.

    Args:
        model: on any device; left in the mode that it came in.
        pictures: at least one.
        columns: names in `training.degrade.COLUMNS`.
        view: what of a picture is degraded and scored; all of it unless said otherwise.
        on_picture: called after each picture.
        on_lost: called with the reason for each picture that cannot be read, whose logits are NaN;
            a SourceError if None.
    """
    # Here, so that figures are read where torch is absent.
    import torch

    from training.data.crops import normalised

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows = []
    try:
        with torch.no_grad():
            for picture in pictures:
                try:
                    image = view(read_image(picture.path))
                except SourceError as error:
                    if on_lost is None:
                        raise
                    on_lost(str(error))
                    rows.append([math.nan] * len(columns))
                    continue
                inputs = (normalised(COLUMNS[name](image), device)[None] for name in columns)
                rows.append([float(model(pixels)) for pixels in inputs])
                on_picture()
    finally:
        model.train(was_training)
    table = np.asarray(rows, dtype=np.float64)
    return Evaluation(tuple(pictures), {name: table[:, i] for i, name in enumerate(columns)})


class SourceFacts(BaseModel):
    """What a list of sources says of one; keys that are not named here are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(validation_alias=AliasChoices("name", "source"))
    kind: str = Field(default="still", description="still or clip.")
    group: str = Field(default="", description="Family of the generator, or kind of photograph.")
    generator: str = ""
    year: int | None = Field(default=None, description="Of the generator.")
    matched: str | None = Field(
        default=None, description="Source of the other label with the same content or style."
    )


def read_sources(path: Path) -> dict[str, SourceFacts]:
    """Name → facts, from a JSON list of objects with `name` (or `source`); else a UsageError."""
    adapter = TypeAdapter(list[SourceFacts])
    return {row.name: row for row in parsed(adapter, path, "a JSON list of sources with names")}


def facts_of(sources: Mapping[str, SourceFacts], names: Iterable[str]) -> dict[str, SourceFacts]:
    """The facts of those sources that the list knows; FOLDER/SOURCE goes by SOURCE."""
    found = ((name, sources.get(name) or sources.get(name.rpartition("/")[2])) for name in names)
    return {name: facts for name, facts in found if facts is not None}


class Item(Strict):
    """One labelled picture or video."""

    data: int = Field(ge=0, description="Index of its folder in `data`.")
    path: str = Field(description="Below that folder, with forward slashes.")
    label: Literal[0, 1] = Field(description="Real 0, fake 1.")
    source: str
    video: bool = False
    frames: int = Field(default=1, ge=1, description="Pictures that were scored of it.")


class ModelFacts(Strict):
    """What was evaluated."""

    name: str
    file: str = Field(description="Its name without folders.")
    sha256: str
    region: str
    calibration: Calibration
    parameters: int | None = None
    architecture: str | None = Field(default=None, description="Null where it was not recorded.")
    preprocessing: str | None = None


class ScoredModel(ModelFacts):
    """A model with its logits."""

    logits: dict[str, list[float | None]] = Field(
        description="Degradation → logits of all frames of all items in order; null: none."
    )
    failure: str | None = Field(default=None, description="Why the first null, if there is one.")


class Record(Strict):
    """All that was measured in one evaluation."""

    # "schema" is a method of pydantic's models, so the field has another name than its key.
    schema_number: Literal[1, 2] = Field(default=2, alias="schema")
    theme: Literal["evaluation"] = "evaluation"
    time: str = Field(description="When it was started, UTC, ISO 8601.")
    commit: str | None
    seed: int = Field(ge=0, description="Of the intervals.")
    fps: float | None = Field(description="Frames per second taken from videos; null: no video.")
    columns: tuple[str, ...]
    data: tuple[str, ...] = Field(description="Folders as they were named.")
    sources: dict[str, SourceFacts] = Field(default={}, description="What --sources says of them.")
    items: tuple[Item, ...]
    rejected: tuple[str, ...] = Field(description="A sentence for each file that was left out.")
    models: tuple[ScoredModel, ...]

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

    def without_logit(self) -> Iterator[str]:
        """A sentence for each file and model that no finite logit came of."""
        for model in self.models:
            means = self.evaluation(model).logits
            for place, item in enumerate(self.items):
                if lost := [name for name in self.columns if not np.isfinite(means[name][place])]:
                    yield f"{self.path(item)}: {model.name} gave no logit ({', '.join(lost)})."

    def evaluation(self, model: ScoredModel, moment_s: float | None = None) -> Evaluation:
        """A logit for each item: of a video the mean over its frames that gave one.

        With `moment_s` a video is an item for each of its stretches of as many seconds, the last of
        them longer, instead of one for all of it.
        """
        each = max(round(moment_s * (self.fps or 1)), 1) if moment_s else None
        parts = [max(i.frames // each, 1) if each and i.video else 1 for i in self.items]
        both = list(zip(self.items, parts, strict=True))
        pictures = [Picture(self.path(i), i.label, i.source) for i, n in both for _ in range(n)]
        lengths = [
            length
            for item, n in both
            for length in [*[each or 1] * (n - 1), item.frames - (each or 1) * (n - 1)]
        ]
        item_of = np.repeat(np.arange(len(pictures)), lengths)
        means = {}
        for name in self.columns:
            logits = np.array([math.nan if x is None else x for x in model.logits[name]], float)
            given = np.isfinite(logits)
            count = np.bincount(item_of[given], minlength=len(pictures))
            total = np.bincount(item_of[given], logits[given], len(pictures))
            means[name] = np.where(count > 0, total / np.maximum(count, 1), math.nan)
        return Evaluation(tuple(pictures), means)


def parsed(adapter: TypeAdapter[T], path: Path, expected: str) -> T:
    """Read a JSON file.

    Raises:
        UsageError: absent, or not what was expected.
    """
    with reading(path, UsageError):
        content = path.read_bytes()
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        raise UsageError(f"{path}: expected {expected}; {fault(error, 'the whole')}.") from error


def now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
