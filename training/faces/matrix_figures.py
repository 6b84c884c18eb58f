"""What a matrix of models and test sets is made of: figures with intervals that resample videos.

Faces of one video resemble each other, so that an interval from single faces would be far too
narrow. Whole videos are drawn with replacement, real ones and fakes apart (Davison and Hinkley,
Bootstrap Methods and their Application, 1997, section 3.2); of a video that is drawn twice, each
face counts twice. Videos that share a person are drawn apart, which this does not make up for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from edge.manifest import Calibration
from training.evaluation.bootstrap import DRAWS, Draws, Estimate, estimate
from training.evaluation.measured import Logits
from training.evaluation.metrics import AUC, ON_FAKE, ON_REAL, Ranking, Values, Weights
from training.faces.sets import FaceItem

Unit = Literal["frame", "video"]
UNITS: tuple[Unit, ...] = ("video", "frame")
FILE = "matrix.json"
UNNAMED = "fake"
"""Stands for the manipulation of fakes that their set says nothing of."""

_AT_ONCE = 2_000_000


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelFacts(_Part):
    """A row of the matrix."""

    name: str = Field(description="As it was given, usually the set that it was trained on.")
    file: str = Field(description="Its name without folders.")
    sha256: str
    architecture: str
    size: int = Field(description="Side that faces are brought to, in pixels.")
    calibration: Calibration
    trained_on: str


class SetFacts(_Part):
    """A column of the matrix."""

    name: str = Field(description="As it was given.")
    split: str
    videos: dict[str, int] = Field(description="`real` and each manipulation → videos with faces.")
    faces: dict[str, int] = Field(description="The same → faces.")


class Cell(_Part):
    """One model on the fakes of one manipulation of one test set, against its real videos."""

    model: str
    test: str
    manipulation: str | None = Field(description="null: all of them together.")
    unit: Unit = Field(description="What is judged: a frame's face, or a video by its mean logit.")
    reals: int = Field(description="Of this unit.")
    fakes: int = Field(description="Of this unit.")
    auc: Estimate | None = Field(description="With its 95 % interval; null: a side is empty.")
    balanced_accuracy: Estimate | None = Field(
        description="Mean of the shares of both sides that are on the right side of the threshold."
    )


class Matrix(_Part):
    """All of `matrix.json`."""

    # "schema" is a method of pydantic's models, so the field has another name than its key.
    schema_number: Literal[1] = Field(default=1, alias="schema")
    theme: Literal["faces matrix"] = "faces matrix"
    time: str = Field(description="When it was begun, UTC, ISO 8601.")
    commit: str | None
    seed: int = Field(description="Of the intervals.")
    draws: int
    models: tuple[ModelFacts, ...]
    tests: tuple[SetFacts, ...]
    cells: tuple[Cell, ...]
    missing: tuple[str, ...] = Field(description="A sentence for each combination without figures.")

    def cell(self, model: str, test: str, manipulation: str | None, unit: Unit) -> Cell | None:
        """One cell; None where there is none."""
        wanted = (model, test, manipulation, unit)
        for cell in self.cells:
            if (cell.model, cell.test, cell.manipulation, cell.unit) == wanted:
                return cell
        return None

    def manipulations(self, test: str) -> list[str]:
        """Of a test set, by name."""
        found = {c.manipulation for c in self.cells if c.test == test and c.manipulation}
        return sorted(found)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Faces of one label, by video.

    Attributes:
        logits: of each face.
        video: of each face the number of its video, from 0, each with a face.
    """

    logits: Logits
    video: npt.NDArray[np.intp]

    @classmethod
    def of(cls, items: Sequence[FaceItem], logits: Logits, wanted: npt.NDArray[np.bool_]) -> Side:
        """The faces that are wanted, one flag for each."""
        names = [item.video for item, keep in zip(items, wanted, strict=True) if keep]
        _, video = np.unique(np.array(names, dtype=str), return_inverse=True)
        return cls(logits[wanted], video)

    @property
    def videos(self) -> int:
        """How many videos."""
        return int(self.video.max()) + 1 if len(self.video) else 0

    def by_video(self) -> Side:
        """Each video with the mean logit of its faces, as one face."""
        sums = np.bincount(self.video, self.logits, self.videos)
        means = sums / np.maximum(np.bincount(self.video, minlength=self.videos), 1)
        return Side(means, np.arange(self.videos))


def cells_of(
    facts: ModelFacts, test: str, items: Sequence[FaceItem], logits: Logits, seed: int
) -> Iterator[Cell]:
    """Every cell of one model on one test set, all fakes first, then each manipulation.

    Args:
        facts: of the model.
        test: name of the set.
        items: its faces.
        logits: finite, one for each.
        seed: of the draws, which are the same for each model on the same faces.
    """
    labels = np.array([item.label for item in items], dtype=int)
    names = np.array([manipulation_of(item) or "" for item in items], dtype=str)
    reals = Side.of(items, logits, labels == 0)
    kinds = sorted(set(names[labels == 1]))
    for kind in (None, *(kinds if kinds != [UNNAMED] else [])):
        wanted = (labels == 1) if kind is None else (labels == 1) & (names == kind)
        fakes = Side.of(items, logits, wanted)
        for unit in UNITS:
            yield _cell(facts, test, kind, unit, (reals, fakes), seed)


def manipulation_of(item: FaceItem) -> str | None:
    """How a fake was made, in a word; None for a real one."""
    return None if item.label == 0 else item.manipulation or UNNAMED


def _cell(
    facts: ModelFacts,
    test: str,
    kind: str | None,
    unit: Unit,
    sides: tuple[Side, Side],
    seed: int,
) -> Cell:
    reals, fakes = (side.by_video() if unit == "video" else side for side in sides)
    figures = measured(reals, fakes, facts.calibration, seed)
    return Cell(
        model=facts.name,
        test=test,
        manipulation=kind,
        unit=unit,
        reals=len(reals.logits),
        fakes=len(fakes.logits),
        auc=figures["auc"],
        balanced_accuracy=figures["balanced_accuracy"],
    )


def measured(
    reals: Side, fakes: Side, calibration: Calibration, seed: int, draws: int = DRAWS
) -> dict[str, Estimate | None]:
    """AUC and balanced accuracy, each with its interval over videos; None where a side is empty.

    Args:
        reals: finite logits.
        fakes: likewise.
        calibration: whose threshold the accuracy is counted at.
        seed: of the draws.
        draws: how many.
    """
    if not reals.videos or not fakes.videos:
        return {"auc": None, "balanced_accuracy": None}
    ranking = Ranking.of(reals.logits, fakes.logits, calibration)
    point = _figures(ranking.measure(np.ones((1, len(reals.logits) + len(fakes.logits)))))
    parts = [_figures(ranking.measure(w)) for w in _weights(reals, fakes, seed, draws)]
    return {
        name: estimate(float(value[0]), np.concatenate([part[name] for part in parts]))
        for name, value in point.items()
    }


def _figures(values: Values) -> Mapping[str, Draws]:
    return {"auc": values[AUC], "balanced_accuracy": (values[ON_REAL] + values[ON_FAKE]) / 2}


def _weights(reals: Side, fakes: Side, seed: int, draws: int) -> Iterator[Weights]:
    """In portions, or large sets would take draws × faces of memory at once."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // (len(reals.logits) + len(fakes.logits)))
    for start in range(0, draws, at_once):
        count = min(at_once, draws - start)
        yield np.concatenate([_drawn(side, rng, count) for side in (reals, fakes)], axis=1)


def _drawn(side: Side, rng: np.random.Generator, draws: int) -> Weights:
    videos = side.videos
    often = rng.multinomial(videos, [1 / videos] * videos, size=draws)
    return often[:, side.video].astype(np.float64)


def set_facts(name: str, split: str, items: Sequence[FaceItem]) -> SetFacts:
    """Count the videos and faces of a test set."""
    groups: dict[str, list[FaceItem]] = {}
    for item in items:
        groups.setdefault(manipulation_of(item) or "real", []).append(item)
    return SetFacts(
        name=name,
        split=split,
        videos={kind: len({i.video for i in found}) for kind, found in sorted(groups.items())},
        faces={kind: len(found) for kind, found in sorted(groups.items())},
    )


def missing_of(tests: Sequence[SetFacts]) -> Iterator[str]:
    """A sentence for everything that a matrix of these sets cannot show."""
    kinds = sorted({kind for t in tests for kind in t.videos} - {"real", UNNAMED})
    for test in tests:
        if not test.videos:
            yield f"{test.name} has no faces in its {test.split} videos: its column is empty."
            continue
        if "real" not in test.videos:
            yield f"{test.name} has no real {test.split} videos: its column is empty."
        if set(test.videos) <= {"real"}:
            yield f"{test.name} has no fake {test.split} videos: its column is empty."
        elif set(test.videos) == {"real", UNNAMED} and kinds:
            yield f"{test.name} does not name how its fakes were made: they are judged together."
        elif absent := [kind for kind in kinds if kind not in test.videos]:
            yield f"{test.name} has no {test.split} videos of {', '.join(absent)}."
