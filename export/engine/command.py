"""`patchwatch export MODEL.onnx --engine`: an engine ahead of its first use, proven and kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich import filesize
from rich.console import Console
from rich.table import Table

from edge.cuda import open_cuda
from edge.errors import SinkError, UsageError
from edge.manifest import Manifest, Precision, read_manifest
from edge.regions import parse_region, place
from edge.tensorrt.record import DEFAULT_PRECISION, Machine, Shape, Sidecar, machine_of
from edge.tensorrt.store import (
    EngineCache,
    EngineRequest,
    EngineStore,
    default_folder,
    write_engine,
)
from edge.weights import find_model
from export.auc import find_labelled
from export.command import check_free, check_suffix
from export.engine.process import build_engine

WIDE_HW = (2160, 3840)
"""A frame of 16:9 that no region enlarges."""


def run(args: argparse.Namespace) -> int:
    """Build, prove, keep, and print what was measured; the checkpoint is here the model file."""
    model = find_model(str(args.checkpoint))
    precisions = args.precision or (DEFAULT_PRECISION,)
    if args.output is not None:
        check_suffix(args.output, ".engine")
        check_free(args.output, args.force)
        if len(precisions) > 1:
            raise UsageError("--output names one engine, and several precisions are asked for.")
    if model.suffix != ".onnx":
        raise UsageError(
            f"--engine: expected a model file (.onnx), found {model}. Export it first: "
            f"patchwatch export {model.name} -o {model.stem}.onnx."
        )
    if args.labelled is not None:
        find_labelled(args.labelled, args.label_folders)  # refused before minutes are spent
    manifest = read_manifest(model)
    shape = shape_of(manifest, args.static)
    machine = this_machine()
    out, err = Console(), Console(stderr=True)
    for precision in precisions:
        plan, sidecar = _build(err, model, manifest, machine, shape, precision, args)
        if args.output is not None:
            path: Path | None = args.output
            try:
                write_engine(args.output, plan, sidecar)
            except OSError as error:
                why = error.strerror or error
                raise SinkError(f"{args.output} cannot be written ({why}).") from error
        else:
            path = EngineCache(default_folder()).install(plan, sidecar).path
        out.print(proof_table(sidecar))
        size = filesize.decimal(len(plan))
        out.print(f"{path or 'not kept'}: {size}", highlight=False, markup=False, soft_wrap=True)
    return 0


def shape_of(manifest: Manifest, static: tuple[int, int, int] | None) -> Shape:
    """The frames that an engine shall take: what was asked for, else the model's own region, of
    `fit:N` what it makes of a frame of 16:9; UsageError for a model of any size.
    """
    if static is not None:
        return Shape(batch=static[0], height=static[1], width=static[2])
    region = parse_region(manifest.region)
    if region.kind == "native":
        raise UsageError(
            f"{manifest.name} looks at whole frames, and an engine takes one size: give it, for "
            "instance --static 1x1080x1920."
        )
    side = region.fixed_side
    height, width = (side, side) if side else place(*WIDE_HW, region)[1]
    return Shape(batch=1, height=height, width=width)


def this_machine() -> Machine:
    """What an engine depends on here; raises as `open_cuda` and the import of TensorRT do."""
    from edge.tensorrt.engine import version

    with open_cuda() as cuda:
        return machine_of(version(), cuda.gpu)


def _build(
    err: Console,
    model: Path,
    manifest: Manifest,
    machine: Machine,
    shape: Shape,
    precision: Precision,
    args: argparse.Namespace,
) -> tuple[bytes, Sidecar]:
    key = EngineStore(model, manifest, precision).key(machine, shape)
    workspace = args.workspace and args.workspace << 20
    request = EngineRequest(
        model, key, default_folder(), args.labelled, workspace, args.label_folders
    )
    with err.status(f"building ({precision}, {shape}); this takes minutes") as status:
        return build_engine(request, lambda text: status.update(f"{precision}, {shape}: {text}"))


def proof_table(sidecar: Sidecar) -> Table:
    """What the proof measured, a row each."""
    proof, build = sidecar.proof, sidecar.build
    table = Table("measure", "value", "bound", title_justify="left")
    table.title = f"{sidecar.manifest.name}, {sidecar.key.precision}, {sidecar.key.shape}"
    table.caption = f"{sidecar.key.machine.describe()}; {build.route}, {build.seconds:.0f} s"
    where = f"logit| on {proof.frames} frames"
    figures = [
        (where, proof.max_logit, proof.logit_scaled, proof.logit_bound),
        ("patch logit|", proof.max_patch, proof.patch_scaled, proof.patch_bound),
    ]
    for name, largest, scaled, bound in figures:
        if largest is not None:
            table.add_row(f"max |Δ {name}", f"{largest:.1e}", "")
            table.add_row("the same, relative above 1", f"{scaled:.1e}", f"{bound:g}")
    table.add_row("verdicts that agree", f"{100 * proof.agreement:.0f} %", "")
    if proof.loss is not None:
        both = f"{proof.loss.reference_auc:.4f} → {proof.loss.engine_auc:.4f}"
        table.add_row(f"mean AUC, {proof.loss.pictures} pictures", both, "loss 0.005")
    return table
