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
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from edge.backends import open_backend
from edge.errors import MissingDependency, ModelError, SinkError, UsageError
from edge.files import write_whole
from edge.manifest import METADATA_KEY, Calibration, Figure
from edge.signals import stop_signals
from edge.terminal import console
from edge.weights import find_model, shipped
from training.calibration import (
    AT_THRESHOLD,
    FALSE_ALARMS,
    CrossFit,
    Fit,
    calibrate,
    cross_fit,
    figures,
    with_threshold,
)
from training.degrade import COLUMNS, UNTOUCHED
from training.evaluation.judge import judge
from training.evaluation.metrics import Flags, called, share_estimate
from training.evaluation.options import (
    add_material_arguments,
    find_material,
    number,
    results_console,
)
from training.evaluation.record import Evaluation, Record
from training.evaluation.report import Grid, interval_text
from training.evaluation.scorers import (
    CHECKPOINT,
    INSTALL,
    MODEL_FILE,
    ModelOptions,
    open_scorer,
    training_installed,
)
from training.progress import progress_bar

ALL = "all photographs"
FEW = 50
"""Photographs below which a warning says that the threshold rests on too little."""


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
    add_material_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score, fit, report, write the card or the model file."""
    with stop_signals(), training_installed():
        carrier = open_carrier(args.model, args.output)
        fit: Fit = calibrate
        if args.photographs_only:
            fit = partial(with_threshold, carrier.calibration)
        record = _record(args)
        evaluation = record.evaluation(record.models[0]).finite()
        degraded = [name for name in evaluation.logits if name != UNTOUCHED]
        fitted = evaluation.restricted_to(degraded)
        calibration = fit(fitted, args.false_alarms)
        crossed = None
        try:
            crossed = cross_fit(fitted, evaluation, args.false_alarms, fit)
        except ModelError as error:
            console().print(f"no figures on unseen sources: {error}", markup=False, soft_wrap=True)
        _print(evaluation, calibration, crossed)
        region = record.models[0].region
        view = "at native pixels, whole" if region == "native" else f"region {region}"
        measured = figures(evaluation, calibration, crossed, view)
        if args.photographs_only:
            _warn_of_few(len(evaluation.pictures))
            kept = [f for f in carrier.validation if f.metric not in AT_THRESHOLD]
            measured = (*kept, *measured)
        update = {"calibration": calibration, "validation": measured}
        write_whole(carrier.output, carrier.rewritten(update))
        text = f"{carrier.output}: calibration and figures written"
        console().print(text, markup=False, soft_wrap=True)
    return 0


class Carrier(NamedTuple):
    """A model that says of itself how its logits are read.

    Attributes:
        calibration: as it is now.
        validation: its figures of quality now.
        output: the file that a new calibration goes into.
        rewritten: the content of `output` with other values in its card or manifest.
    """

    calibration: Calibration
    validation: tuple[Figure, ...]
    output: Path
    rewritten: Callable[[Mapping[str, object]], bytes]


def open_carrier(text: str, output: Path | None) -> Carrier:
    """The carrier of a checkpoint, a model file or a shipped model's name.

    The new one goes to `output`; None stands for a checkpoint's own card. A model file always needs
    a new name, as a device may be running it.
    """
    if Path(text).suffix == CHECKPOINT:
        return _checkpoint(Path(text), output)
    if text in shipped() or Path(text).suffix == MODEL_FILE:
        return _model_file(find_model(text), output)
    raise UsageError(
        f"{text}: expected a checkpoint ({CHECKPOINT}) with its card, a model file ({MODEL_FILE}) "
        f"or a shipped name ({', '.join(shipped())}). An engine is built again from its model file."
    )


def _checkpoint(path: Path, output: Path | None) -> Carrier:
    if output and output.suffix != ".json":
        raise UsageError(
            f"--output: expected a name ending in .json for the card of a checkpoint, found "
            f"{str(output)!r}."
        )
    from training.checkpoint import card_path, load_checkpoint

    _, card = load_checkpoint(path)

    def rewritten(update: Mapping[str, object]) -> bytes:
        return (card.model_copy(update=update).model_dump_json(indent=2) + "\n").encode()

    return Carrier(card.calibration, card.validation, output or card_path(path), rewritten)


def _model_file(path: Path, output: Path | None) -> Carrier:
    if output is None or output.suffix != MODEL_FILE:
        raise UsageError(
            f"{path} is a model file: give a new one that ends in {MODEL_FILE} as --output, "
            f"found {str(output) if output else 'none'!r}."
        )
    if output.exists():
        raise SinkError(f"{output} exists already. Give another name as --output.")
    with open_backend(path, threads=1) as backend:  # refuses what is no model file
        manifest = backend.manifest
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingDependency("onnx", "write a model file", INSTALL) from error
    proto = onnx.load_model_from_string(path.read_bytes())

    def rewritten(update: Mapping[str, object]) -> bytes:
        for entry in proto.metadata_props:
            if entry.key == METADATA_KEY:
                entry.value = manifest.model_copy(update=update).to_json()
        return bytes(proto.SerializeToString())

    return Carrier(manifest.calibration, manifest.validation, output, rewritten)


def _warn_of_few(photographs: int) -> None:
    out = console()
    out.print(f"The threshold rests on {photographs} photographs.", soft_wrap=True)
    if photographs < FEW:
        out.print(
            f"Warning: fewer than {FEW}. One photograph more or less moves such a threshold far: "
            "take more, of all that the camera will see, by day and by night.",
            soft_wrap=True,
        )
    out.print("What it does to generated pictures was not measured.", soft_wrap=True)


def _record(args: argparse.Namespace) -> Record:
    with open_scorer(args.model, ModelOptions(threads=args.threads)) as scorer:
        material = find_material(args, args.photographs_only)
        with progress_bar() as progress:
            task = progress.add_task("scoring", total=len(material.entries), note="")
            advance = partial(progress.advance, task)
            columns = tuple(COLUMNS)
            record = judge([scorer], material, columns, workers=args.workers, on_entry=advance)
    for reason in record.rejected[len(material.rejected) :]:
        console().print(f"left out: {reason}", markup=False, soft_wrap=True)
    lost = sum(None in logits for logits in zip(*record.models[0].logits.values(), strict=True))
    if lost:
        failure = record.models[0].failure
        console().print(f"left out: {lost} without a logit: {failure}", markup=False)
    return record


def _print(evaluation: Evaluation, calibration: Calibration, crossed: CrossFit | None) -> None:
    out = results_console()
    out.print(
        f"temperature {calibration.temperature:.4g}, bias {calibration.bias:.4g}, "
        f"threshold {calibration.threshold:.3f}"
    )
    head = ("source", "measured", *evaluation.logits)
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
    flags = {
        c: {name: called(x, calibration) for name, x in evaluation.by_source(c, 0).items()}
        for c in columns
    }
    fits: list[tuple[str, Mapping[str, Mapping[str, Flags]]]] = [("in the fit", flags)]
    if crossed is not None and crossed.alarms[columns[0]]:
        fits.append(("left out", crossed.alarms))
    for source in (*evaluation.source_names(0), None):
        for measured, found in fits:
            parts = (found[c] if source is None else {source: found[c][source]} for c in columns)
            yield (source or ALL, measured, *_shares(parts))
    if crossed is not None and crossed.found[columns[0]]:
        yield ("all generated", "left out", *_shares(crossed.found[c] for c in columns))


def _shares(parts: Iterable[Mapping[str, Flags]]) -> list[str]:
    return [interval_text(share_estimate(flags, 0), "") for flags in parts]


def _share(text: str) -> float:
    if not 0 <= number(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, found {text!r}.")
    return number(text)
