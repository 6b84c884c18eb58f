"""The record of a matrix of models and test sets: figures with intervals that resample videos.

Faces of one video resemble each other, so that an interval from single faces would be far too
narrow. Whole videos are drawn with replacement, real ones and fakes apart (Davison and Hinkley,
Bootstrap Methods and their Application, 1997, section 3.2); of a video that is drawn twice, each
face counts twice. Videos that share a person are drawn apart, which this does not correct.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge.manifest import Calibration
from edge.schema import Strict
from training.evaluation.metrics import (
    AUC,
    DRAWS,
    ON_FAKE,
    ON_REAL,
    Draws,
    Estimate,
    estimate,
    measure,
    resampled,
)
from training.evaluation.record import Logits
from training.faces.sets import FaceItem

Unit = Literal["frame", "video"]
UNITS: tuple[Unit, ...] = ("video", "frame")
FILE = "matrix.json"
REAL = "real"
UNNAMED = "fake"
"""Stands for the manipulation of fakes that their set says nothing of."""


class ModelFacts(Strict):
    """A row of the matrix."""

    name: str = Field(description="Of the command line, usually the set that it was trained on.")
    file: str = Field(description="Its name without folders.")
    sha256: str
    architecture: str
    size: int = Field(description="Side that faces are brought to, in pixels.")
    calibration: Calibration
    trained_on: str


class SetFacts(Strict):
    """A column of the matrix."""

    name: str = Field(description="As the command line has it.")
    split: str
    videos: dict[str, int] = Field(description="`real` and each manipulation → videos with faces.")
    faces: dict[str, int] = Field(description="The same → faces.")


class Cell(Strict):
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


class Matrix(Strict):
    """All of `matrix.json`."""

    # "schema" is a method of pydantic's models, so the field has another name than its key.
    schema_number: Literal[1] = Field(default=1, alias="schema")
    theme: Literal["faces matrix"] = "faces matrix"
    time: str = Field(description="When it was started, UTC, ISO 8601.")
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
    kinds = np.array([kind_of(item) for item in items], dtype=str)
    reals = Side.of(items, logits, kinds == REAL)
    named = sorted({*kinds.tolist()} - {REAL})
    for kind in (None, *(named if named != [UNNAMED] else [])):
        wanted = kinds != REAL if kind is None else kinds == kind
        sides = (reals, Side.of(items, logits, wanted))
        for unit in UNITS:
            chosen = [side.by_video() if unit == "video" else side for side in sides]
            auc, balanced = measured(chosen[0], chosen[1], facts.calibration, seed)
            yield Cell(
                model=facts.name,
                test=test,
                manipulation=kind,
                unit=unit,
                reals=len(chosen[0].logits),
                fakes=len(chosen[1].logits),
                auc=auc,
                balanced_accuracy=balanced,
            )


def kind_of(item: FaceItem) -> str:
    """How a fake was made, in a word; `REAL` for a real one."""
    return REAL if item.label == 0 else item.manipulation or UNNAMED


def measured(
    reals: Side, fakes: Side, calibration: Calibration, seed: int, draws: int = DRAWS
) -> tuple[Estimate | None, Estimate | None]:
    """AUC and balanced accuracy, each with its interval over videos; None where a side is empty.

    Args:
        reals: finite logits.
        fakes: likewise.
        calibration: whose threshold the accuracy is counted at.
        seed: of the draws.
        draws: how many.
    """
    if not reals.videos or not fakes.videos:
        return None, None
    rng = np.random.default_rng(seed)
    weights = [
        resampled(side.videos, rng, np.full(draws, side.videos))[:, side.video]
        for side in (reals, fakes)
    ]
    point = measure(reals.logits, fakes.logits, calibration)
    drawn = measure(reals.logits, fakes.logits, calibration, *weights)
    auc = estimate(float(point[AUC][0]), drawn[AUC])
    return auc, estimate(float(_balanced(point)[0]), _balanced(drawn))


def _balanced(values: dict[str, Draws]) -> Draws:
    return (values[ON_REAL] + values[ON_FAKE]) / 2


def set_facts(name: str, split: str, items: Sequence[FaceItem]) -> SetFacts:
    """Count the videos and faces of a test set."""
    faces = Counter(kind_of(item) for item in items)
    videos = Counter(kind for kind, _ in {(kind_of(item), item.video) for item in items})
    kinds = sorted(faces)
    return SetFacts(
        name=name,
        split=split,
        videos={kind: videos[kind] for kind in kinds},
        faces={kind: faces[kind] for kind in kinds},
    )


def missing_of(tests: Sequence[SetFacts]) -> Iterator[str]:
    """A sentence for everything that a matrix of these sets cannot show."""
    kinds = sorted({kind for t in tests for kind in t.videos} - {REAL, UNNAMED})
    for test in tests:
        if not test.videos:
            yield f"{test.name} has no faces in its {test.split} videos: its column is empty."
            continue
        if REAL not in test.videos:
            yield f"{test.name} has no real {test.split} videos: its column is empty."
        if set(test.videos) <= {REAL}:
            yield f"{test.name} has no fake {test.split} videos: its column is empty."
        elif set(test.videos) == {REAL, UNNAMED} and kinds:
            yield f"{test.name} does not name how its fakes were made: they are judged together."
        elif absent := [kind for kind in kinds if kind not in test.videos]:
            yield f"{test.name} has no {test.split} videos of {', '.join(absent)}."
