"""The record of a matrix of models and test sets: figures with intervals that resample videos.

Faces of one video resemble each other, so that an interval from single faces would be far too
narrow. Whole videos are drawn with replacement, real ones and fakes apart (Davison and Hinkley,
Bootstrap Methods and their Application, 1997, section 3.2); of a video that is drawn twice, each
face counts twice. Videos that share a person are drawn apart, which this does not correct.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
Side = tuple[Logits, npt.NDArray[np.intp]]
"""Of one label: the logit of each face, and the number of its video, from 0."""

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
        found = (c for c in self.cells if (c.model, c.test, c.manipulation, c.unit) == wanted)
        return next(found, None)

    def manipulations(self, test: str) -> list[str]:
        """Of a test set, by name."""
        found = {c.manipulation for c in self.cells if c.test == test and c.manipulation}
        return sorted(found)


def cells_of(
    facts: ModelFacts, test: str, items: Sequence[FaceItem], logits: Logits, seed: int
) -> Iterator[Cell]:
    """Every cell of one model on one test set, all fakes first, then each manipulation.

    There is a finite logit for each face; the draws are the same for each model on the same faces.
    """
    kinds = np.array([kind_of(item) for item in items], dtype=str)
    videos = np.array([item.video for item in items], dtype=str)
    named = sorted({*kinds.tolist()} - {REAL})
    for kind in (None, *(named if named != [UNNAMED] else [])):
        sides = (kinds == REAL, kinds != REAL if kind is None else kinds == kind)
        by_frame = [
            (logits[side], np.unique(videos[side], return_inverse=True)[1]) for side in sides
        ]
        by_video = [_video_means(*side) for side in by_frame]
        for unit, (reals, fakes) in zip(UNITS, (by_video, by_frame), strict=True):
            auc, balanced = measured(reals, fakes, facts.calibration, seed)
            yield Cell(
                model=facts.name,
                test=test,
                manipulation=kind,
                unit=unit,
                reals=len(reals[0]),
                fakes=len(fakes[0]),
                auc=auc,
                balanced_accuracy=balanced,
            )


def kind_of(item: FaceItem) -> str:
    """How a fake was made, in a word; `REAL` for a real one."""
    return REAL if item.label == 0 else item.manipulation or UNNAMED


def measured(
    reals: Side, fakes: Side, calibration: Calibration, seed: int
) -> tuple[Estimate | None, Estimate | None]:
    """AUC and balanced accuracy, each with its interval over videos; None where a side is empty."""
    if not len(reals[0]) or not len(fakes[0]):
        return None, None
    rng = np.random.default_rng(seed)
    weights = []
    for _, video in (reals, fakes):
        count = int(video.max()) + 1
        weights.append(resampled(count, rng, np.full(DRAWS, count))[:, video])
    point = measure(reals[0], fakes[0], calibration)
    drawn = measure(reals[0], fakes[0], calibration, *weights)
    balanced = [(values[ON_REAL] + values[ON_FAKE]) / 2 for values in (point, drawn)]
    auc = estimate(float(point[AUC][0]), drawn[AUC])
    return auc, estimate(float(balanced[0][0]), balanced[1])


def _video_means(logits: Logits, video: npt.NDArray[np.intp]) -> Side:
    counts = np.bincount(video)
    return np.bincount(video, logits) / counts, np.arange(len(counts))


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
