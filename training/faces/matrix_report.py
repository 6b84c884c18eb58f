"""The record of a matrix of models and test sets, and its tables, Markdown and picture.

Faces of one person resemble each other, so that an interval from single faces would be far too
narrow. Whole people are drawn with replacement, with all their videos, real ones and fakes apart
(Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.2); where a set does
not say who is to be seen, whole videos are. Who is in two videos of one label under two names is
drawn apart, which this does not correct.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge.manifest import Calibration
from edge.schema import Strict
from training.evaluation.metrics import (
    AUC,
    CONFIDENCE_PERCENT,
    Estimate,
    Flags,
    called,
    clustered,
    share_estimate,
)
from training.evaluation.plots import INK, rendered
from training.evaluation.record import Logits
from training.evaluation.report import NOT_DEFINED, Grid, interval_text
from training.faces.sets import FaceItem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Unit = Literal["frame", "video"]
UNITS: tuple[Unit, ...] = ("video", "frame")
FILE = "matrix.json"
REAL = "real"
UNNAMED = "fake"
"""Stands for the manipulation of fakes that their set says nothing of."""
PAGE = "matrix.md"
PLOT = "matrix"
HEADING = "# Patchwatch faces: train set × test set"
ALL = "all fakes"
_METRICS = {
    AUC: "auc",
    "balanced accuracy": "balanced_accuracy",
    "real called fake": "false_alarms",
    "fake called fake": "found",
    "fake above its own original": "pairs",
}
"""Title of a table → field of a cell."""

_TITLES: dict[Unit, str] = {
    "video": "AUC per video (mean logit of its faces)",
    "frame": "AUC per face of a frame",
}


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
    false_alarms: Estimate | None = Field(default=None, description="Reals above the threshold.")
    found: Estimate | None = Field(default=None, description="Fakes above the threshold.")
    pairs: Estimate | None = Field(
        default=None,
        description="Of the fake videos with a real one of the same person in the set: those "
        "whose mean logit is above its. For videos alone.",
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

    def cell(self, *wanted: str | None) -> Cell | None:
        """The cell of a model, a test set, a manipulation and a unit, if there is one."""
        found = (c for c in self.cells if (c.model, c.test, c.manipulation, c.unit) == wanted)
        return next(found, None)

    def manipulations(self, test: str) -> list[str]:
        """Of a test set, by name."""
        return sorted({c.manipulation for c in self.cells if c.test == test and c.manipulation})


def cells_of(
    facts: ModelFacts, test: str, items: Sequence[FaceItem], logits: Logits, seed: int
) -> Iterator[Cell]:
    """Every cell of one model on one test set, all fakes first, then each manipulation.

    There is a finite logit for each face; the draws are the same for each model on the same faces.
    """
    kinds = np.array([kind_of(item) for item in items], dtype=str)
    videos, place = np.unique([item.video for item in items], return_inverse=True)
    first = np.unique(place, return_index=True)[1]
    people = np.unique([item.person for item in items], return_inverse=True)[1]
    means = np.bincount(place, logits, len(videos)) / np.bincount(place, minlength=len(videos))
    units = {"video": (kinds[first], means, people[first]), "frame": (kinds, logits, people)}
    named = sorted({*kinds.tolist()} - {REAL})
    for kind in (None, *(named if named != [UNNAMED] else [])):
        for unit in UNITS:
            of, values, who = units[unit]
            chosen = (of == REAL, of != REAL if kind is None else of == kind)
            sides, whose = [values[side] for side in chosen], [who[side] for side in chosen]
            clusters = [np.unique(side, return_inverse=True)[1] for side in whose]
            auc, balanced = clustered(sides, facts.calibration, seed, clusters)
            above = [
                share_estimate(_by(side, called(x, facts.calibration)), seed)
                for x, side in zip(sides, whose, strict=True)
            ]
            yield Cell(
                model=facts.name,
                test=test,
                manipulation=kind,
                unit=unit,
                reals=len(sides[0]),
                fakes=len(sides[1]),
                auc=auc,
                balanced_accuracy=balanced,
                false_alarms=above[0],
                found=above[1],
                pairs=_pairs(sides, whose, seed) if unit == "video" else None,
            )


def _pairs(
    sides: Sequence[Logits], whose: Sequence[npt.NDArray[np.intp]], seed: int
) -> Estimate | None:
    originals = dict(zip(whose[0].tolist(), sides[0].tolist(), strict=True))
    known = np.array([person in originals for person in whose[1].tolist()], dtype=bool)
    people, fakes = whose[1][known], sides[1][known]
    above = fakes > [originals[person] for person in people.tolist()]
    return share_estimate(_by(people, above), seed)


def _by(people: npt.NDArray[np.intp], flags: Flags) -> dict[str, Flags]:
    return {str(person): flags[people == person] for person in np.unique(people)}


def kind_of(item: FaceItem) -> str:
    """How a fake was made, in a word; `REAL` for a real one."""
    return REAL if item.label == 0 else item.manipulation or UNNAMED


def set_facts(name: str, split: str, items: Sequence[FaceItem]) -> SetFacts:
    """Count the videos and faces of a test set."""
    faces = Counter(sorted(kind_of(item) for item in items))
    videos = Counter(kind for kind, _ in sorted({(kind_of(item), item.video) for item in items}))
    return SetFacts(name=name, split=split, videos=dict(videos), faces=dict(faces))


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


def grids(matrix: Matrix) -> Iterator[Grid]:
    """The tables: train set by test set first, then each manipulation."""
    names = tuple(test.name for test in matrix.tests)
    for metric, unit in product(_METRICS, UNITS):
        rows = tuple(
            (m.name, *(_text(matrix.cell(m.name, name, None, unit), metric) for name in names))
            for m in matrix.models
        )
        if any(text != NOT_DEFINED for row in rows for text in row[1:]):
            yield Grid(f"{metric} per {unit}", ("trained on ＼ tested on", *names), rows, 1)
    kinds = [("video", AUC), ("frame", AUC), *(("video", x) for x in [*_METRICS][3:])]
    head = ("manipulation", "trained on", *(f"{metric} per {unit}" for unit, metric in kinds))
    for name in names:
        rows = tuple(
            (how, m.name, *(_text(matrix.cell(m.name, name, how, unit), x) for unit, x in kinds))
            for how in matrix.manipulations(name)
            for m in matrix.models
        )
        if rows:
            yield Grid(f"manipulations of {name}", head, rows, 2)


def _text(cell: Cell | None, metric: str) -> str:
    return interval_text(getattr(cell, _METRICS[metric], None), metric)


def notes(matrix: Matrix) -> Iterator[str]:
    """Sentences that belong to the figures."""
    yield from matrix.missing
    yield (
        f"Intervals are {CONFIDENCE_PERCENT:g} % and resample whole people, real ones and fakes "
        f"apart ({matrix.draws} draws, seed {matrix.seed})."
    )
    for test in matrix.tests:
        few = [f"{count} {kind}" for kind, count in test.videos.items() if count < 10]
        if few:
            videos = f"{', '.join(few)} {'video' if few == ['1 real'] else 'videos'}"
            yield f"{test.name} has only {videos}: those intervals are rough, mostly too narrow."
    for model in matrix.models:
        if model.calibration == Calibration():
            yield f"{model.name} is not calibrated: its threshold is a raw logit of 0."


def page(matrix: Matrix) -> str:
    """The whole report as Markdown."""
    commit = f", commit `{matrix.commit[:12]}`" if matrix.commit else ""
    parts = [HEADING, f"{matrix.time[:10]}{commit}.", f"![heat table]({PLOT}.png)"]
    for grid in grids(matrix):
        parts += [f"## {grid.title}", grid.markdown()]
    tests = tuple(
        (test.name, test.split, kind, str(count), str(test.faces[kind]))
        for test in matrix.tests
        for kind, count in test.videos.items()
    )
    columns = ("test set", "split", "kind", "videos with faces", "faces")
    parts += ["## What was tested on", Grid("", columns, tests, 3).markdown()]
    models = tuple(
        (
            m.name,
            m.file,
            f"`{m.sha256[:12]}`",
            f"{m.architecture}, {m.size} px",
            f"{m.calibration.threshold:.2f}",
            m.trained_on,
        )
        for m in matrix.models
    )
    head = ("model", "file", "sha256", "architecture", "threshold", "trained on")
    parts += ["## Models", Grid("", head, models, 6).markdown()]
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes(matrix))]
    return "\n\n".join(parts) + "\n"


def files(matrix: Matrix) -> dict[str, bytes]:
    """Name → content of everything that is written."""
    text = matrix.model_dump_json(by_alias=True, indent=1) + "\n"
    drawn = rendered(heat_table(matrix), PLOT, ("png", "svg"))
    return {FILE: text.encode(), PAGE: page(matrix).encode(), **drawn}


def heat_table(matrix: Matrix) -> Figure:
    """AUC as colour and number: a panel per video and one per frame, models by test sets."""
    from matplotlib.figure import Figure

    columns = [
        (test.name, kind)
        for test in matrix.tests
        for kind in (None, *matrix.manipulations(test.name))
    ]
    width = max(5.0, 1.8 + 1.15 * len(columns))
    height = 1.1 + len(UNITS) * (1.25 + 0.62 * len(matrix.models))
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle("Trained on (rows), tested on (columns)", color=INK, fontsize=12)
    for index, unit in enumerate(UNITS):
        _panel(figure.add_subplot(len(UNITS), 1, index + 1), matrix, unit, columns)
    return figure


def _panel(axes: Axes, matrix: Matrix, unit: Unit, columns: list[tuple[str, str | None]]) -> None:
    cells = [[matrix.cell(m.name, *column, unit) for column in columns] for m in matrix.models]
    aucs = [[cell.auc if cell else None for cell in row] for row in cells]
    values = np.array([[x[0] if x else np.nan for x in row] for row in aucs], dtype=np.float64)
    axes.imshow(np.ma.masked_invalid(values), cmap="RdYlBu", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_facecolor("#EEEEEE")
    axes.set_title(_TITLES[unit], color=INK, fontsize=10, loc="left")
    names = [f"{test}\n{ALL if kind is None else kind}" for test, kind in columns]
    axes.set_xticks(range(len(columns)), names, fontsize=8)
    axes.set_yticks(range(len(matrix.models)), [m.name for m in matrix.models], fontsize=9)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    for row, column in np.ndindex(values.shape):
        _write(axes, column, row, aucs[row][column])
    # White rules between cells, and a wider one where another test set begins.
    axes.hlines(np.arange(len(aucs) - 1) + 0.5, -0.5, len(columns) - 0.5, "white", linewidth=1.5)
    widths = [6.0 if kind is None else 1.5 for _, kind in columns[1:]]
    axes.vlines(np.arange(len(widths)) + 0.5, -0.5, len(aucs) - 0.5, "white", linewidth=widths)


def _write(axes: Axes, column: int, row: int, auc: Estimate | None) -> None:
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    if auc is None:
        axes.text(column, row, NOT_DEFINED, color=INK, fontsize=8, **centred)
        return
    value, low, high = auc
    # The map is dark at both ends.
    colour = "white" if value < 0.15 or value > 0.85 else INK
    axes.text(column, row - 0.13, f"{value:.2f}", color=colour, fontsize=11, **centred)
    between = f"{low:.2f} to {high:.2f}"
    axes.text(column, row + 0.24, between, color=colour, fontsize=7, **centred)
