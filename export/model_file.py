"""The graph of a model file, from a checkpoint: folded, with its manifest, linted and proven."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from onnx import ModelProto

from edge.errors import RegionError, UsageError
from edge.manifest import Manifest
from edge.types import Batch
from export import compare
from export.compare import Array, Row, Session
from export.fold import Unfolded, folded_module
from export.graph import Shape, embed, to_onnx
from export.lint import check
from export.precision.parts import name_front
from training.checkpoint import Card
from training.models import Model

BOUND = 1e-4
"""Largest difference from the checkpoint: absolute up to a magnitude of 1, relative above."""


def manifest_of(model: Model, card: Card) -> Manifest:
    return Manifest(
        name=card.name,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        parameters=sum(weight.numel() for weight in model.parameters()),
        patches=model.grid,
        region=card.region,
        face_side=card.face_side,
        calibration=card.calibration,
        training=card.training,
        validation=card.validation,
        licence=card.licence,
    )


def graph_of(model: Model, card: Card, name: str, static: Shape | None = None) -> ModelProto:
    """The graph of a model file: folded, with its manifest, and linted.

    The model is put into evaluation mode; `name` is the file's, for messages; `static` is the only
    shape that the file will take, and None any that the model takes. RegionError or UsageError for
    one that the model does not take; ContractError where the graph breaks the contract.
    """
    model.eval()
    shape = _shape(model, static)
    proto = to_onnx(folded_module(model), shape, patches=model.grid is not None)
    name_front(proto.graph)
    embed(proto, manifest_of(model, card))
    check(proto, name)
    return proto


class Checkpoint:
    """A model in torch, unfolded, as the reference of its file."""

    name = "the checkpoint"

    def __init__(self, model: Model) -> None:
        self._unfolded = Unfolded(model).eval()

    def evidence(self, frames: Batch) -> tuple[Array, Array | None]:
        model = self._unfolded.model
        with torch.no_grad():
            logits, maps = model.evidence(self._unfolded.normalised(torch.from_numpy(frames)))
            if maps is None:
                return logits.double().numpy(), None
            # torch adds up in float32, and would be the less exact of the two on a large picture.
            return model.pooled(maps.double()).numpy(), maps.double().numpy()


class File:
    """A model file in memory as ONNX Runtime runs it."""

    name = "the model file"

    def __init__(self, proto: ModelProto) -> None:
        self._outputs = [value.name for value in proto.graph.output]
        self._session = Session(proto.SerializeToString())

    def evidence(self, frames: Batch) -> tuple[Array, Array | None]:
        return compare.run(self._session, self._outputs, frames)


def prove(
    model: Model,
    proto: ModelProto,
    shapes: Sequence[Shape] | None = None,
    tell: Callable[[str], None] = lambda text: None,
    measured: Callable[[Sequence[Row]], None] = lambda rows: None,
) -> list[Row]:
    """Compare a graph with its checkpoint, on the shapes that the model takes if none are given.

    The model is put into evaluation mode; `measured` gets the rows before they are judged.
    ModelError where ONNX Runtime refuses the file, or they differ by more than `BOUND`.
    """
    reference, file = Checkpoint(model), File(proto)
    fixed = _shape(model, None)
    rows = []
    for shape in shapes or ((fixed,) if fixed else compare.shapes_from(model.smallest_input)):
        where = compare.describe(shape)
        tell(f"comparing at {where}")
        rows.append(compare.measure(reference, file, [compare.textured(shape)], where, BOUND))
    measured(rows)
    compare.require(rows)
    return rows


def _shape(model: Model, static: Shape | None) -> Shape | None:
    fixed = model.fixed_input
    if static is None:
        return fixed and (1, *fixed)
    found = f"found {static[1]}×{static[2]}."
    if fixed is not None and fixed != static[1:]:
        raise UsageError(
            f"--static: {model.architecture} takes {fixed[0]}×{fixed[1]} pixels only, {found}"
        )
    least = model.smallest_input
    if min(static[1:]) < least:
        raise RegionError(
            f"--static: {model.architecture} needs at least {least}×{least} pixels, {found}"
        )
    return static
