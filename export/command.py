"""Turn a checkpoint into a model file.

The graph is folded exactly and carries its preprocessing and its manifest. It is compared with
the checkpoint on square, odd, tiny and 1080p pictures, and written only if both agree.

A checkpoint of our own (.safetensors with its .json) says what it is. A published .pth file holds
weights alone, so --architecture, --preprocessing and --training-data must be given for it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich import filesize
from rich.console import Console

from edge.errors import MissingDependency, RegionError, SinkError, UsageError
from edge.manifest import Preprocessing, Training
from edge.regions import SYNTAX, parse_region

if TYPE_CHECKING:
    from export.graph import Shape
    from export.parity import Parity
    from training.checkpoint import Card
    from training.models import PatchModel

_STATIC = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,4})x([1-9]\d{0,4})")
_LIBRARIES = ("torch", "onnx", "safetensors", "onnxruntime")
_PUBLISHED = (".pth", ".pt")
_UNSTATED = "not stated"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch export`."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.onnx")
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    parser.add_argument(
        "--static", type=_shape, metavar="NxHxW", help="take this shape alone (default: any)"
    )
    parser.add_argument("--name", help="in the manifest (default: the card's, or the file's)")
    parser.add_argument("--licence", help="of the weights (default: the card's)")
    parser.add_argument("--region", type=_region, metavar="R", help=f"default input: {SYNTAX}")
    published = parser.add_argument_group("for a published .pth file")
    published.add_argument("--architecture", metavar="A", help="for instance tiny_ladeda")
    published.add_argument("--preprocessing", metavar="P", help=", ".join(get_args(Preprocessing)))
    published.add_argument(
        "--training-data", metavar="TEXT", help="what it was trained on and where it comes from"
    )


def run(args: argparse.Namespace) -> int:
    """Export; prints the comparison as a table."""
    _check_output(args.output, args.force)
    with _libraries():
        from export import parity
        from export.model_file import export_model

    model, card = _load(args)
    if args.static:
        _check_fits(model, args.static)
    out, err = Console(), Console(stderr=True)

    def measured(rows: Sequence[Parity]) -> None:
        out.print(parity.table(rows))

    with err.status("folding") as status:

        def starting(shape: Shape) -> None:
            status.update(f"comparing at {parity.describe(shape)}")

        export_model(
            model, card, args.output, static=args.static, starting=starting, measured=measured
        )
    size = filesize.decimal(args.output.stat().st_size)
    out.print(f"{args.output}: {card.name}, {size}", highlight=False, markup=False)
    return 0


@contextmanager
def _libraries() -> Iterator[None]:
    """Name the command that installs what is absent."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        raise MissingDependency(
            library, "export a model", "pip install 'patchwatch[train]'"
        ) from error


def _check_output(output: Path, force: bool) -> None:
    if output.suffix != ".onnx":
        raise UsageError(f"--output: expected a name that ends in .onnx, found {str(output)!r}.")
    if output.is_dir():
        raise SinkError(f"{output} is a folder. Name a file for --output.")
    if output.exists() and not force:
        raise SinkError(f"{output} exists already. Give --force to replace it.")


def _check_fits(model: PatchModel, static: Shape) -> None:
    least = model.grid.smallest_input()
    if min(static[1:]) < least:
        raise RegionError(
            f"--static: {model.architecture} needs at least {least}×{least} pixels, found "
            f"{static[1]}×{static[2]}."
        )


def _load(args: argparse.Namespace) -> tuple[PatchModel, Card]:
    path: Path = args.checkpoint
    if path.suffix in _PUBLISHED:
        return _load_published(args, path)
    from training.checkpoint import load_checkpoint

    if args.training_data is not None:
        raise UsageError(f"--training-data: the card of {path} says it. Leave the flag out.")
    model, card = load_checkpoint(path)
    for flag in ("architecture", "preprocessing"):
        given, known = getattr(args, flag), getattr(card, flag)
        if given not in (None, known):
            raise UsageError(f"--{flag} {given}: the card of {path} says {known}.")
    given = {flag: getattr(args, flag) for flag in ("name", "licence", "region")}
    return model, card.model_copy(update={k: v for k, v in given.items() if v is not None})


def _load_published(args: argparse.Namespace, path: Path) -> tuple[PatchModel, Card]:
    from training.checkpoint import Card, load_published

    for flag in ("architecture", "preprocessing", "training_data"):
        if not getattr(args, flag):
            name = flag.replace("_", "-")
            raise UsageError(f"{path} holds weights alone: give --{name}, which it does not say.")
    model = load_published(path, args.architecture, args.preprocessing)
    card = Card(
        name=args.name or path.stem,
        architecture=args.architecture,
        preprocessing=model.preprocessing,
        region=args.region or "native",
        training=Training(data=args.training_data),
        licence=args.licence or _UNSTATED,
    )
    return model, card


def _shape(text: str) -> Shape:
    match = _STATIC.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"expected pictures, height and width, for instance 1x1080x1920; found {text!r}"
        )
    return int(match[1]), int(match[2]), int(match[3])


def _region(text: str) -> str:
    try:
        return str(parse_region(text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
