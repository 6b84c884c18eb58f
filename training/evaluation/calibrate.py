"""Fit score and threshold to known pictures, and write both to a card or into a model file.

Temperature and bias are fitted to the degraded pictures of DATA, the threshold so that under none
of the degradations more than a share of the photographs scores above it. What the threshold does to
photographs of a source that it has not seen is measured by leaving each source out of the fit in
turn. The weights are not touched.

    patchwatch calibrate runs/first/lite0-levels.safetensors my-cameras/
    patchwatch calibrate lite0-levels my-cameras/ --output mine.onnx
    patchwatch calibrate lite0-levels my-photos/ --photographs-only --output mine.onnx

my-cameras/0_real/<camera>/ holds photographs from the cameras that are to be watched,
my-cameras/1_fake/<generator>/ generated pictures. With --photographs-only temperature and bias stay
as they are and the threshold alone is moved; my-photos/ is a folder of pictures from one's cameras,
or holds 0_real/<camera>/.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C (nothing is written then).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edge.errors import ModelError
from edge.manifest import Calibration, Figure
from edge.signals import stop_signals
from edge.terminal import console, positive
from training.calibration import (
    FALSE_ALARMS,
    CrossFit,
    Fit,
    calibrate,
    cross_fit,
    with_threshold,
)
from training.evaluation.bootstrap import Estimate, alarm_flags, share_estimate
from training.evaluation.carrier import Carrier, open_carrier
from training.evaluation.columns import COLUMNS, degraded_columns
from training.evaluation.figures import figures, independent_of_threshold
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
from training.evaluation.scorers import ModelOptions, open_scorer, torch_at_hand
from training.evaluation.tables import Grid, interval_text
from training.evaluation.whole_files import write_all

ALL = "all photographs"
FEW = 50
"""Photographs below which a threshold is told to rest on too little."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch calibrate`."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a checkpoint (.safetensors), a model file (.onnx) or a shipped model's name",
    )
    parser.add_argument(
        "data", type=Path, nargs="+", metavar="DATA", help="folders of labelled files"
    )
    add_material_arguments(parser)
    parser.add_argument(
        "--photographs-only",
        action="store_true",
        help="move the threshold alone, by the photographs of DATA or a plain folder of pictures",
    )
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
        metavar="FILE",
        help="CARD.json of a checkpoint (default: its own, which is replaced), or NEW.onnx",
    )
    add_workers_argument(parser)
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads per operator (default: all cores)"
    )


def run(args: argparse.Namespace) -> int:
    """Judge, fit, report, write the card or the model file."""
    with stop_signals(), torch_at_hand():
        carrier = open_carrier(args.model, args.output)
        fit: Fit = calibrate
        if args.photographs_only:
            fit = partial(with_threshold, carrier.calibration)
        record = _record(args)
        evaluation = _judged_whole(record)
        fitted = evaluation.restricted_to(degraded_columns(tuple(evaluation.logits)))
        calibration = fit(fitted, args.false_alarms)
        crossed = _crossed(fitted, evaluation, args.false_alarms, fit)
        _print(evaluation, calibration, crossed)
        measured = figures(evaluation, calibration, crossed, _view(record.models[0].region))
        if args.photographs_only:
            _say_how_many(len(evaluation.pictures))
            measured = (*independent_of_threshold(carrier.validation), *measured)
        _write(carrier, calibration, measured)
    return 0


def _write(carrier: Carrier, calibration: Calibration, measured: tuple[Figure, ...]) -> None:
    path = carrier.output
    write_all(path.parent, {path.name: carrier.rewritten(calibration, measured)})
    console().print(f"{path}: calibration and figures written", markup=False, soft_wrap=True)


def _say_how_many(photographs: int) -> None:
    out = console()
    out.print(f"The threshold rests on {photographs} photographs.", soft_wrap=True)
    if photographs < FEW:
        out.print(
            f"Warning: fewer than {FEW}. One photograph more or less moves such a threshold far: "
            "take more, of all that the camera will see, by day and by night.",
            soft_wrap=True,
        )
    out.print("What it does to generated pictures was not measured.", soft_wrap=True)


def _view(region: str) -> str:
    return "at native pixels, whole" if region == "native" else f"region {region}"


def _record(args: argparse.Namespace) -> Record:
    with open_scorer(args.model, ModelOptions(threads=args.threads)) as scorer:
        material = find_material(args.data, args.split, args.layout, args.photographs_only)
        with bar() as progress:
            task = progress.add_task("judging", total=len(material.entries))
            how = JudgeOptions(tuple(COLUMNS), workers=args.workers)
            record = judge([scorer], material, how, lambda: progress.advance(task))
    for reason in record.rejected[len(material.rejected) :]:
        console().print(f"left out: {reason}", markup=False, soft_wrap=True)
    return record


def _judged_whole(record: Record) -> Evaluation:
    model = record.models[0]
    evaluation = record.evaluation(model)
    usable = evaluation.finite()
    lost = len(evaluation.pictures) - len(usable.pictures)
    if lost:
        console().print(f"left out: {lost} without a logit: {model.failure}", markup=False)
    return usable


def _crossed(
    fitted: Evaluation, judged: Evaluation, false_alarms: float, fit: Fit
) -> CrossFit | None:
    try:
        return cross_fit(fitted, judged, false_alarms, fit)
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
    if crossed is not None and crossed.alarms[columns[0]]:
        yield (ALL, "left out", *_texts([crossed.false_alarms(c) for c in columns]))
    if crossed is not None and crossed.found[columns[0]]:
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
