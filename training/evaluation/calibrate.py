"""Fit score and threshold to labelled pictures, and write both to the checkpoint's card.

Temperature and bias are fitted to the degraded pictures of DATA, the threshold so that under none
of the degradations more than a share of the photographs scores above it. What the threshold does to
photographs of a source that it has not seen is measured by leaving each source out of the fit in
turn. The weights are not touched.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C (nothing is written then).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from edge.commands.options import console, positive
from edge.errors import ModelError, UsageError
from edge.manifest import Calibration
from edge.signals import stop_signals
from training.calibration import FALSE_ALARMS, CrossFit, calibrate, cross_fit
from training.evaluation.bootstrap import Estimate, alarm_flags, share_estimate
from training.evaluation.columns import COLUMNS, degraded_columns
from training.evaluation.figures import figures
from training.evaluation.judge import JudgeOptions, judge
from training.evaluation.measured import Evaluation
from training.evaluation.options import (
    add_material_arguments,
    add_workers_argument,
    bar,
    find_material,
    results_console,
)
from training.evaluation.record import Record
from training.evaluation.scorers import CHECKPOINT, ModelOptions, open_scorer, torch_at_hand
from training.evaluation.tables import Grid, interval_text
from training.evaluation.whole_files import write_all

ALL = "all photographs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch calibrate`."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file")
    parser.add_argument(
        "data", type=Path, nargs="+", metavar="DATA", help="folders of labelled files"
    )
    add_material_arguments(parser)
    parser.add_argument(
        "--false-alarms",
        type=_share,
        default=FALSE_ALARMS,
        metavar="SHARE",
        help="of the photographs that may score above the threshold (default: %(default)g)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="CARD.json",
        help="write the card here (default: the checkpoint's own, which is replaced)",
    )
    add_workers_argument(parser)
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads per operator (default: all cores)"
    )


def run(args: argparse.Namespace) -> int:
    """Judge, fit, report, write the card."""
    _check_usage(args)
    with stop_signals(), torch_at_hand():
        from training.checkpoint import card_path, load_checkpoint

        _, card = load_checkpoint(args.checkpoint)
        evaluation = _evaluation(args)
        fitted = evaluation.restricted_to(degraded_columns(tuple(evaluation.logits)))
        calibration = calibrate(fitted, args.false_alarms)
        crossed = _crossed(fitted, evaluation, args.false_alarms)
        _print(evaluation, calibration, crossed)
        measured = figures(evaluation, calibration, crossed)
        new = card.model_copy(update={"calibration": calibration, "validation": measured})
        path = args.output or card_path(args.checkpoint)
        write_all(path.parent, {path.name: (new.model_dump_json(indent=2) + "\n").encode()})
    console().print(f"{path}: calibration and figures written", markup=False, soft_wrap=True)
    return 0


def _check_usage(args: argparse.Namespace) -> None:
    if args.checkpoint.suffix != CHECKPOINT:
        raise UsageError(
            f"{args.checkpoint}: expected a checkpoint ({CHECKPOINT}) with its card. A model file "
            "is calibrated by calibrating its checkpoint and exporting that again."
        )
    if args.output and args.output.suffix != ".json":
        raise UsageError(f"--output: expected a name ending in .json, found {str(args.output)!r}.")


def _evaluation(args: argparse.Namespace) -> Evaluation:
    with open_scorer(str(args.checkpoint), ModelOptions(threads=args.threads)) as scorer:
        material = find_material(args.data, args.split, args.layout)
        with bar() as progress:
            task = progress.add_task("judging", total=len(material.entries))
            how = JudgeOptions(tuple(COLUMNS), workers=args.workers)
            record: Record = judge([scorer], material, how, lambda: progress.advance(task))
    for reason in record.rejected[len(material.rejected) :]:
        console().print(f"left out: {reason}", markup=False, soft_wrap=True)
    return _judged_whole(record)


def _judged_whole(record: Record) -> Evaluation:
    model = record.models[0]
    evaluation = record.evaluation(model)
    usable = evaluation.finite()
    lost = len(evaluation.pictures) - len(usable.pictures)
    if lost:
        console().print(f"left out: {lost} without a logit: {model.failure}", markup=False)
    return usable


def _crossed(fitted: Evaluation, judged: Evaluation, false_alarms: float) -> CrossFit | None:
    try:
        return cross_fit(fitted, judged, false_alarms)
    except ModelError as error:
        console().print(f"no figures on unseen sources: {error}", markup=False, soft_wrap=True)
        return None


def _print(evaluation: Evaluation, calibration: Calibration, crossed: CrossFit | None) -> None:
    out = results_console()
    out.print(
        f"temperature {calibration.temperature:.4g}, bias {calibration.bias:.4g}, "
        f"threshold {calibration.threshold:.3f}"
    )
    columns = tuple(evaluation.logits)
    head = ("source", "measured", *columns)
    rows = tuple(_alarm_rows(evaluation, calibration, crossed))
    out.print(Grid("photographs above the threshold", head, rows, 2).rich())
    if crossed is None or len(evaluation.source_names(0)) < 2:
        out.print("With one source of photographs nothing can be said of an unseen one.")
    else:
        out.print("Left out: by a threshold that was fitted without that source.")


def _alarm_rows(
    evaluation: Evaluation, calibration: Calibration, crossed: CrossFit | None
) -> Iterator[tuple[str, ...]]:
    columns = list(evaluation.logits)
    flags = {column: alarm_flags(evaluation, column, calibration) for column in columns}
    for source in evaluation.source_names(0):
        own = [share_estimate({source: flags[c][source]}, 0) for c in columns]
        yield (source, "in the fit", *_texts(own))
        if crossed is not None and source in crossed.alarms[columns[0]]:
            left = [share_estimate({source: crossed.alarms[c][source]}, 0) for c in columns]
            yield (source, "left out", *_texts(left))
    yield (ALL, "in the fit", *_texts([share_estimate(flags[c], 0) for c in columns]))
    if crossed is not None:
        yield (ALL, "left out", *_texts([crossed.false_alarms(c) for c in columns]))
        yield ("all generated", "left out", *_texts([crossed.found_share(c) for c in columns]))


def _texts(estimates: list[Estimate | None]) -> list[str]:
    return [interval_text(estimate, "") for estimate in estimates]


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, found {text!r}.")
    return value
