"""From an evaluation's figures to the frontier: what a frame costs each model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.compute.names import SizeHW
from benchmarks.frontier.given import Given, assigned, macs_of, open_given
from benchmarks.frontier.record import FRAME_HW, Frontier, Point, Quality, Work, sha256_of
from edge.errors import UsageError
from edge.regions import cut, parse_region
from edge.schema import code_commit
from training.evaluation.metrics import AUC
from training.evaluation.record import now
from training.evaluation.summary import ModelFigures, Summary, read_summary

Watch = Callable[[Sequence[ModelFigures]], Iterable[ModelFigures]]
"""Hands out the same models one by one, to show how far the count is."""


def make_frontier(quality: Path, files: Sequence[str] = (), watch: Watch = iter) -> Frontier:
    """Count every model of an evaluation.

    A model whose file is not given is counted from its architecture; one whose architecture is not
    known either has no work, and says why.

    Args:
        quality: `evaluation.json` or its compact form.
        files: checkpoints, model files and shipped names.
        watch: goes through the models.

    Raises:
        UsageError: the evaluation cannot be read, or a file is none of its models.
        ModelError: a file is absent, broken, or has an operator without a formula.
    """
    summary, _ = read_summary(quality)
    found = assigned(summary.models, [open_given(text) for text in files])
    return Frontier(
        time=now(),
        commit=code_commit(),
        frame_hw=FRAME_HW,
        quality=_quality(quality, summary),
        columns=summary.columns,
        models=tuple(_point(model, found.get(model.name)) for model in watch(summary.models)),
    )


def inputs_of(region: str) -> tuple[int, SizeHW]:
    """How many inputs a region cuts out of a frame of `FRAME_HW`, and the size of each."""
    crops = cut(np.zeros((*FRAME_HW, 3), np.uint8), parse_region(region))
    height, width = crops[0].image.shape[:2]
    return len(crops), (height, width)


def _quality(path: Path, summary: Summary) -> Quality:
    return Quality(file=path.name, sha256=sha256_of(path), time=summary.time, commit=summary.commit)


def _point(model: ModelFigures, file: Given | None) -> Point:
    work, missing = _work(model, file)
    return Point(
        name=model.name,
        architecture=model.architecture or (file.says.architecture if file else None),
        region=model.region,
        parameters=model.parameters,
        auc={name: column.mean[AUC] for name, column in model.columns.items()},
        work=work,
        missing=missing,
    )


def _work(model: ModelFigures, file: Given | None) -> tuple[Work | None, str | None]:
    """The work, or why there is none."""
    inputs, size = inputs_of(model.region)
    try:
        macs = _macs(model, file, size)
    except UsageError as error:  # made by a version that knew an architecture of that name
        return None, str(error)
    if not macs:
        if file:
            return None, f"{file.path.name} has no convolution and no matrix product."
        return None, "its file was not given, and the evaluation does not name its architecture."
    return Work(
        macs=inputs * macs,
        input_hw=size,
        inputs=inputs,
        counted_from="file" if file else "architecture",
        file=file.path.name if file else None,
        same_file=file is None or file.sha256 == model.sha256,
    ), None


def _macs(model: ModelFigures, file: Given | None, size: SizeHW) -> int | None:
    if file:
        return file.macs(size)
    if model.architecture is None or model.preprocessing is None:
        return None
    return macs_of(model.architecture, model.preprocessing, size)
