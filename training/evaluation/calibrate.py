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
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from edge.backends import open_backend
from edge.errors import ModelError, SinkError, UsageError, require
from edge.files import write_whole
from edge.manifest import METADATA_KEY, Calibration, Manifest
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
from training.evaluation.material import add_material_arguments, find_material, results_console
from training.evaluation.metrics import Flags, called, share_estimate
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
from training.shipped import find_checkpoint, shipped_checkpoints

MOMENT_S = 10.0
"""Seconds of a video that count as one photograph: what it shows hardly changes within less, and a
mean over all of it would hide how high a moment can score. Chosen, not measured."""

FEW = 50
"""Files below which a warning says that the threshold rests on too little."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch calibrate`."""
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="a checkpoint (.safetensors), a model file (.onnx) or a shipped model's name",
    )
    add("data", type=Path, nargs="+", metavar="DATA", help="folders of labelled files")
    add(
        "--photographs-only",
        action="store_true",
        help="move the threshold alone, by the photographs of DATA or a plain folder of pictures",
    )
    add(
        "--false-alarms",
        type=_share,
        default=FALSE_ALARMS,
        metavar="SHARE",
        help="of the photographs that may score above the threshold (default: %(default)g)",
    )
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="of a checkpoint NEW.safetensors, or CARD.json (default: its own card, which is "
        "replaced); of a model file NEW.onnx",
    )
    add_material_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score, fit, report, write the card or the model file."""
    with stop_signals(), training_installed():
        card, output = _opened(args.model, args.output)
        fit: Fit = calibrate
        if args.photographs_only:
            fit = partial(with_threshold, card.calibration)
        record = _record(args)
        evaluation = record.evaluation(record.models[0], MOMENT_S).finite()
        _say_moments(record, evaluation)
        fitted = evaluation.restricted_to([name for name in COLUMNS if name != UNTOUCHED])
        calibration = fit(fitted, args.false_alarms)
        crossed = None
        try:
            crossed = cross_fit(fitted, evaluation, args.false_alarms, fit)
        except ModelError as error:
            _say(f"no figures on unseen sources: {error}")
        _print(evaluation, calibration, crossed)
        region = record.models[0].region
        view = "at native pixels, whole" if region == "native" else f"region {region}"
        measured = figures(evaluation, calibration, crossed, view)
        if args.photographs_only:
            _warn_of_few(evaluation)
            kept = [f for f in card.validation if f.metric not in AT_THRESHOLD]
            measured = (*kept, *measured)
        update = {"calibration": calibration, "validation": measured}
        if args.output and args.output.suffix == CHECKPOINT:
            write_whole(args.output, find_checkpoint(Path(args.model)).read_bytes())
        write_whole(output, _content(args.model, card.model_copy(update=update)))
        _say(f"{output}: calibration and figures written")
    return 0


def _opened(text: str, output: Path | None) -> tuple[Any, Path]:
    """The card or manifest of a model, and the file that a new one goes into.

    A model file always needs a new name, as a device may be running it.
    """
    ships = text not in shipped() and text in shipped_checkpoints()
    if ships or Path(text).suffix == CHECKPOINT:
        from training.checkpoint import card_path, load_checkpoint

        if (output is None and ships) or (output and output.suffix not in (".json", CHECKPOINT)):
            raise UsageError(
                f"--output: expected NEW{CHECKPOINT} for a copy of the checkpoint, or CARD.json "
                f"for its card alone, found {str(output) if output else 'none'!r}."
            )
        _, card = load_checkpoint(Path(text))
        return card, card_path(output or Path(text))
    if text not in shipped() and Path(text).suffix != MODEL_FILE:
        raise UsageError(
            f"{text}: expected a checkpoint ({CHECKPOINT}) with its card, a model file "
            f"({MODEL_FILE}) or a shipped name ({', '.join(shipped())}). An engine is built again "
            "from its model file."
        )
    path = find_model(text)
    if output is None or output.suffix != MODEL_FILE:
        raise UsageError(
            f"{path} is a model file: give a new one that ends in {MODEL_FILE} as --output, "
            f"found {str(output) if output else 'none'!r}."
        )
    if output.exists():
        raise SinkError(f"{output} exists already. Give another name as --output.")
    require("onnx", "write a model file", INSTALL)  # before long work
    with open_backend(path, threads=1) as backend:  # refuses what is no model file
        return backend.manifest, output


def _content(text: str, card: Any) -> bytes:
    """A card as its file, or the model file with another manifest."""
    if not isinstance(card, Manifest):
        return f"{card.model_dump_json(indent=2)}\n".encode()
    import onnx

    proto = onnx.load_model_from_string(find_model(text).read_bytes())
    for entry in proto.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = card.to_json()
    return bytes(proto.SerializeToString())


def _say(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)


def _say_moments(record: Record, evaluation: Evaluation) -> None:
    videos = {record.path(item) for item in record.items if item.video}
    if videos:
        moments = sum(picture.path in videos for picture in evaluation.pictures)
        _say(f"{len(videos)} videos count as {moments} moments, of {MOMENT_S:g} s each.")


def _warn_of_few(evaluation: Evaluation) -> None:
    photographs = len(evaluation.pictures)
    files = len({picture.path for picture in evaluation.pictures})
    moments = f" and moments, of {files} files" if files < photographs else ""
    _say(f"The threshold rests on {photographs} photographs{moments}.")
    if files < FEW:
        _say(
            f"Warning: fewer than {FEW} files. One photograph more or less moves such a threshold "
            "far: take more, of all that the camera will see, by day and by night."
        )
    _say("What it does to generated pictures was not measured.")


def _record(args: argparse.Namespace) -> Record:
    with open_scorer(args.model, ModelOptions(threads=args.threads)) as scorer:
        from training.evaluation.judge import judge

        material = find_material(args, args.photographs_only)
        record = judge([scorer], material, tuple(COLUMNS), workers=args.workers)
    lost = sum(None in logits for logits in zip(*record.models[0].logits.values(), strict=True))
    if lost:
        _say(f"left out: {lost} without a logit: {record.models[0].failure}")
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
    fits: dict[str, Mapping[str, Mapping[str, Flags]]] = {"in the fit": flags}
    if crossed is not None and crossed.alarms[columns[0]]:
        fits["left out"] = crossed.alarms
    for source in (*evaluation.source_names(0), None):
        for measured, found in fits.items():
            parts = (found[c] if source is None else {source: found[c][source]} for c in columns)
            yield (source or "all photographs", measured, *_shares(parts))
    if crossed is not None and crossed.found[columns[0]]:
        yield ("all generated", "left out", *_shares(crossed.found[c] for c in columns))


def _shares(parts: Iterable[Mapping[str, Flags]]) -> list[str]:
    return [interval_text(share_estimate(flags, 0), "") for flags in parts]


def _share(text: str) -> float:
    try:
        if 0 <= float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, found {text!r}.")
