"""Turn a checkpoint into a model file, and a model file into its half-precision and int8 twins.

The graph is folded exactly and carries its preprocessing and its manifest. It is compared with
the checkpoint on square, odd, tiny and 1080p pictures, and written only if both agree.

A checkpoint of our own (.safetensors with its .json) says what it is. A published .pth file holds
weights alone, so --architecture, --preprocessing and --training-data must be given for it.

    patchwatch export run.safetensors -o model.onnx --precision fp32,fp16
    patchwatch export model.onnx -o model.onnx --precision fp16,int8 --calibration photos/

writes model.fp16.onnx, model.int8.onnx and its twin model.int8.fp16.onnx, which newer versions of
TensorRT take, beside model.onnx, each compared with the float32 file.
With --labelled, folders 0_real/<source>/ and 1_fake/<generator>/, one that costs more than 0.005 of
the mean AUC per generator is refused. If one is refused, none is written.

    patchwatch export model.onnx --engine

builds a TensorRT engine for this machine, which takes minutes, proves it against ONNX Runtime and
keeps it where 'patchwatch run --backend tensorrt' finds it. It needs TensorRT, and not torch.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich import filesize
from rich.console import Console

from edge.errors import MissingDependency, SinkError, UsageError
from edge.files import written_whole
from edge.labels import add_label_folders
from edge.manifest import Precision, Preprocessing, Training
from edge.regions import SYNTAX, parse_region
from edge.signals import stop_signals, uninterrupted
from edge.weights import find_model, shipped

if TYPE_CHECKING:
    from onnx import ModelProto

    from export.graph import Shape
    from export.precision.variants import Watch
    from training.checkpoint import Card
    from training.models import Model

_STATIC = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,4})x([1-9]\d{0,4})")
_LIBRARIES = ("torch", "onnx", "safetensors", "onnxruntime")
_PUBLISHED = (".pth", ".pt")
_OF_A_CHECKPOINT = (
    "static", "name", "licence", "region", "architecture", "preprocessing", "training_data"
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch export`."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="SOURCE",
        help="a checkpoint, a float32 model file (.onnx) or a shipped one's name")  # fmt: skip
    add("-o", "--output", type=Path, metavar="FILE")
    add("--force", action="store_true", help="replace outputs that exist")
    add("--static", type=_shape, metavar="NxHxW",
        help="take this shape alone (default: any; of an engine: the region's)")  # fmt: skip
    add("--name", help="in the manifest (default: the card's, or the file's)")
    add("--licence", help="of the weights (default: the card's)")
    add("--region", type=_region, metavar="R", help=f"default input: {SYNTAX}")
    add = parser.add_argument_group("precision").add_argument
    known = ", ".join(get_args(Precision))
    add("--precision", type=_precisions, metavar="P,…",
        help=f"files to write, of {known} (default of a checkpoint: fp32)")  # fmt: skip
    add("--calibration", type=Path, metavar="FOLDER", help="pictures that int8 finds its ranges "
        "on; photographs and generated ones, 100 or more")  # fmt: skip
    add("--labelled", type=Path, metavar="FOLDER", help="measure what it costs in AUC on these")
    add_label_folders(parser)
    add = parser.add_argument_group("TensorRT engine, of a model file").add_argument
    add("--engine", action="store_true", help="build one for this machine (default: fp16)")
    add("--workspace", type=_mebibytes, metavar="MIB", help="memory that a layer may use to be "
        "built (default: a quarter of what is free)")  # fmt: skip
    add = parser.add_argument_group("for a published .pth file").add_argument
    add("--architecture", metavar="A", help="for instance tiny_ladeda")
    add("--preprocessing", metavar="P", help=", ".join(get_args(Preprocessing)))
    add("--training-data", metavar="TEXT",
        help="what it was trained on and where it comes from")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Export; prints each comparison as a table."""
    if args.engine:
        from export.engine.command import run as build

        with stop_signals():
            return build(args)
    precisions = _check_usage(args)
    out, err = Console(), Console(stderr=True)
    with stop_signals(), _libraries():
        from export.graph import manifest_in
        from export.precision.variants import (
            TWIN,
            Wanted,
            Watch,
            file_of,
            make_variants,
            require_pictures,
        )

        wanted = Wanted(precisions, args.calibration, args.labelled, args.label_folders)
        require_pictures(wanted)
        names = [*precisions, *([TWIN] if "int8" in precisions else [])]
        files = {name: file_of(args.output, name) for name in names}
        for path in files.values():
            check_free(path, args.force)
        with err.status("reading") as status:
            watch = Watch(status.update, out.print)
            proto = _source(args, watch)
            made = make_variants(proto, wanted, watch)
        # All are written aside, then put in place; a stop signal waits for the second part.
        with ExitStack() as stack:
            stack.enter_context(uninterrupted())
            for precision, data in made.items():
                stack.enter_context(written_whole(files[precision], data))
        model = manifest_in(proto, "the model").name
    for name, path in files.items():
        line = f"{path}: {model}, {name}, {filesize.decimal(len(made[name]))}"
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _check_usage(args: argparse.Namespace) -> tuple[Precision, ...]:
    """What can be refused without reading anything; gives the precisions to be written."""
    if args.output is None:
        raise UsageError("expected where to write: give a name that ends in .onnx as -o.")
    check_suffix(args.output, ".onnx")
    precisions: tuple[Precision, ...] = args.precision or ("fp32",)
    if not _is_model_file(args):
        for flag in ("calibration", "labelled"):
            if getattr(args, flag) is not None and precisions == ("fp32",):
                raise UsageError(
                    f"--{flag} is for --precision fp16 and int8, and neither is asked for."
                )
        return precisions
    for flag in _OF_A_CHECKPOINT:
        if getattr(args, flag) is not None:
            name = flag.replace("_", "-")
            raise UsageError(f"--{name} is for checkpoints; {args.checkpoint} says it itself.")
    if not args.precision:
        raise UsageError(
            f"{args.checkpoint} is a model file already: say what to make of it, for instance "
            "--precision fp16."
        )
    return precisions


def _is_model_file(args: argparse.Namespace) -> bool:
    """Whether it is one, or the name of one; without --precision a name is of its checkpoint."""
    name = str(args.checkpoint)
    if args.checkpoint.suffix == ".onnx" or name not in shipped():
        return bool(args.checkpoint.suffix == ".onnx")
    from training.shipped import shipped_checkpoints

    return bool(args.precision) or name not in shipped_checkpoints()


def _source(args: argparse.Namespace, watch: Watch) -> ModelProto:
    """The float32 graph: of a model file, or folded from a checkpoint and held to its numbers."""
    if _is_model_file(args):
        from export.precision.variants import read_model_file

        return read_model_file(find_model(str(args.checkpoint)))
    from export.compare import table
    from export.model_file import graph_of, prove

    model, card = _load(args)
    watch.at("folding")
    proto = graph_of(model, card, args.output.name, args.static)
    shapes = args.static and [args.static]
    prove(model, proto, shapes, watch.at, lambda rows: watch.show(table(rows)))
    return proto


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


def check_suffix(output: Path, suffix: str) -> None:
    """Raise UsageError for an output of another kind."""
    if output.suffix != suffix:
        raise UsageError(f"--output: expected a name that ends in {suffix}, found {str(output)!r}.")


def check_free(output: Path, force: bool) -> None:
    """Raise SinkError for a folder, or a file that is not to be replaced."""
    if output.is_dir():
        raise SinkError(f"{output} is a folder. Name a file for --output.")
    if output.exists() and not force:
        raise SinkError(f"{output} exists already. Give --force to replace it.")


def _load(args: argparse.Namespace) -> tuple[Model, Card]:
    path: Path = args.checkpoint
    if path.suffix in _PUBLISHED:
        return _load_published(args, path)
    from training.checkpoint import load_any  # knows the shipped ones by name

    if args.training_data is not None:
        raise UsageError(f"--training-data: the card of {path} says it. Leave the flag out.")
    model, card = load_any(path)
    for flag in ("architecture", "preprocessing"):
        given, known = getattr(args, flag), getattr(card, flag)
        if given not in (None, known):
            raise UsageError(f"--{flag} {given}: the card of {path} says {known}.")
    given = {flag: getattr(args, flag) for flag in ("name", "licence", "region")}
    return model, card.model_copy(update={k: v for k, v in given.items() if v is not None})


def _load_published(args: argparse.Namespace, path: Path) -> tuple[Model, Card]:
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
        licence=args.licence or "not stated",
    )
    return model, card


def _shape(text: str) -> Shape:
    match = _STATIC.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"expected pictures, height and width, for instance 1x1080x1920; found {text!r}"
        )
    return int(match[1]), int(match[2]), int(match[3])


def _mebibytes(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number of MiB, found {text!r}")
    return int(text)


def _precisions(text: str) -> tuple[Precision, ...]:
    known: tuple[Precision, ...] = get_args(Precision)
    wanted = [part.strip() for part in text.split(",")]
    unknown = [part for part in wanted if part not in known]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"expected some of {', '.join(known)} with commas between, found {unknown[0]!r}"
        )
    return tuple(name for name in known if name in wanted)


def _region(text: str) -> str:
    try:
        return str(parse_region(text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
