"""The published evaluation: each platform's or generator's fakes against its own photographs.

As the test script of Cavia et al., *Real-Time Deepfake Detection in the Real-World*, 2024, has it:
every picture squeezed to 256×256 pixels by a bilinear filter, no crop, no degradation, fake where
the sigmoid of the logit is above 0.5. Accuracies, average precision and AUC are those of
scikit-learn; the mean is over the sets that the script names.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from edge.errors import SourceError, UsageError
from edge.sources.images import read_image
from edge.terminal import console
from edge.types import Image
from training.data.folders import Picture, find_pictures
from training.data.layouts import plan_splits
from training.evaluation.material import results_console
from training.evaluation.record import Logits, auc
from training.evaluation.report import Grid
from training.evaluation.scorers import ModelOptions, open_scorers
from training.progress import print_rejected, progress_bar

NAME = "published"
SIDE = 256
"""Pixels; both sides of every picture."""

PERCENT = ("accuracy", "AP", "AUC", "real accuracy", "fake accuracy")
"""The columns, in the order in which they are shown."""


class Benchmark(NamedTuple):
    """A published benchmark: the sets of its mean, and what its authors state for LaDeDa."""

    sets: tuple[str, ...]
    stated: str


_GANS = "progan stylegan stylegan2 biggan cyclegan stargan gaugan deepfake"
_DIFFUSION = "dalle glide_100_10 glide_100_27 glide_50_27 ldm_100 ldm_200 ldm_200_cfg guided"
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        "wildrf": Benchmark(("reddit", "twitter", "facebook"), "mean AP 93.7"),
        "forensynth": Benchmark(tuple(_GANS.split()), "mean AP about 99"),
        "ufd": Benchmark(tuple(_DIFFUSION.split()), "mean AP about 99"),
    }
)
"""By the name of the layout."""


def squeezed(image: Image) -> Image:
    """A picture, uint8 [H, W, 3], at 256×256 pixels as torchvision resizes a Pillow picture."""
    picture = PillowImage.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((SIDE, SIDE), PillowImage.Resampling.BILINEAR))


def figures(reals: Logits, fakes: Logits) -> dict[str, float]:
    """The published measures of a set, 0..1, from the logits of both labels."""
    from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    logits = np.concatenate([reals, fakes])
    return {
        "accuracy": float(np.mean((logits > 0) == labels)),
        "AP": float(average_precision_score(labels, logits)),
        "AUC": auc(reals, fakes),
        "real accuracy": float(np.mean(reals <= 0)),
        "fake accuracy": float(np.mean(fakes > 0)),
    }


def table(name: str, rows: Mapping[str, Mapping[str, float]], benchmark: Benchmark) -> Grid:
    """A row for each set, and the mean over those that the script names.

    Args:
        name: of the model.
        rows: set → measure → value.
        benchmark: whose sets they are.
    """

    def cells(values: Mapping[str, float]) -> list[str]:
        return [f"{100 * values[measure]:.1f}" for measure in PERCENT]

    named = [rows[one] for one in benchmark.sets if one in rows]
    lines = [(one, *cells(values)) for one, values in rows.items()]
    if named:
        mean = {m: float(np.mean([values[m] for values in named])) for m in PERCENT}
        lines.append((f"mean of {len(named)}", *cells(mean)))
    return Grid(f"{name} by the published protocol, in %", ("set", *PERCENT), tuple(lines), 1)


def run(args: argparse.Namespace, models: Sequence[str], folders: Sequence[Path]) -> int:
    """Score every set of one folder with each model, and print a table of each.

    Returns:
        0, or 1 where pictures could not be judged, which are named.

    Raises:
        UsageError: several folders, or one that is laid out as no published benchmark.
        SourceError: a set has no picture of a label that can be judged.
    """
    if len(folders) != 1:
        raise UsageError(f"--protocol takes one data set, found {len(folders)}. Name one folder.")
    layout, plan = plan_splits(folders[0], args.layout, (), args.label_folders)
    if layout not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise UsageError(
            f"--protocol {NAME} is for data sets laid out as {known}, found {layout} in "
            f"{folders[0]}. Give --layout where that is wrong, or leave --protocol out."
        )
    sets = {name.removeprefix("test/"): find_pictures(parts) for name, parts in plan.items()
            if name.startswith("test/")}  # fmt: skip
    _require_both(sets)
    options = ModelOptions("native", args.architecture, args.preprocessing, args.threads)
    out, lost = results_console(), set[str]()
    with open_scorers(models, options) as scorers, progress_bar() as progress:
        total = sum(map(len, sets.values()))
        for scorer in scorers:
            task = progress.add_task(scorer.facts.name, total=total, note="")
            rows: dict[str, dict[str, float]] = {}
            left_out: list[str] = []
            for name, pictures in sets.items():
                logits = _scored(scorer.logit, pictures, partial(progress.advance, task), left_out)
                labels = np.array([picture.label for picture in pictures])
                sides = [logits[(labels == label) & np.isfinite(logits)] for label in (0, 1)]
                if not all(map(len, sides)):
                    raise SourceError(f"test/{name}: nothing of a label is judged. {left_out[0]}")
                rows[name] = figures(sides[0], sides[1])
            lost |= {*left_out}
            out.print(table(scorer.facts.name, rows, BENCHMARKS[layout]).rich())
    out.print(f"Its authors state for LaDeDa: {BENCHMARKS[layout].stated}.")
    missing = [name for name in BENCHMARKS[layout].sets if name not in sets]
    if missing:
        out.print(f"Not in the folder, and so not in the mean: {', '.join(missing)}.")
    print_rejected(console(), sorted(lost))
    return 1 if lost else 0


def _require_both(sets: Mapping[str, Sequence[Picture]]) -> None:
    for name, pictures in sets.items():
        if {picture.label for picture in pictures} != {0, 1}:
            raise SourceError(f"test/{name}: expected pictures of both labels, found one label.")
    if not sets:
        raise SourceError("expected sets in test/, found none. Give the folder that holds test/.")


def _scored(
    logit: Callable[[Image], float],
    pictures: Sequence[Picture],
    on_picture: Callable[[], None],
    left_out: list[str],
) -> Logits:
    """A logit of each, NaN where it is left out."""
    found = []
    for picture in pictures:
        try:
            found.append(logit(squeezed(read_image(picture.path))))
            if not math.isfinite(found[-1]):
                left_out.append(f"{picture.path}: its logit is {found[-1]}.")
        except SourceError as error:
            found.append(math.nan)
            left_out.append(str(error))
        on_picture()
    return np.array(found, np.float64)
