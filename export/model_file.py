"""The graph of a model file, from a checkpoint: folded, with its manifest, linted and proven."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import ModelProto

from edge.errors import RegionError, UsageError
from edge.manifest import Manifest
from export import parity
from export.fold import folded_module
from export.graph import Shape, embed, to_onnx
from export.lint import check
from export.parity import Parity
from export.precision.parts import name_front
from training.checkpoint import Card
from training.models import Model


def manifest_of(model: Model, card: Card) -> Manifest:
    """What the model file will say of itself."""
    return Manifest(
        name=card.name,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        parameters=sum(weight.numel() for weight in model.parameters()),
        patches=model.grid,
        region=card.region,
        calibration=card.calibration,
        training=card.training,
        validation=card.validation,
        licence=card.licence,
    )


def graph_of(model: Model, card: Card, name: str, static: Shape | None = None) -> ModelProto:
    """The graph of a model file: folded, with its manifest, and linted.

    Args:
        model: the checkpoint's; put into evaluation mode.
        card: its card.
        name: of the file, for messages.
        static: the only shape that the file will take; any shape that the model takes if None.

    Raises:
        ContractError: the graph breaks the contract.
        RegionError: the shape is smaller than the model takes.
        UsageError: the shape is not the only one that the model takes.
    """
    model.eval()
    shape = _shape(model, static)
    proto = to_onnx(folded_module(model), shape, patches=model.grid is not None)
    name_front(proto.graph)
    embed(proto, manifest_of(model, card))
    check(proto, name)
    return proto


def prove(
    model: Model,
    proto: ModelProto,
    *,
    static: Shape | None = None,
    shapes: Sequence[Shape] | None = None,
    starting: Callable[[Shape], None] = lambda shape: None,
    measured: Callable[[Sequence[Parity]], None] = lambda rows: None,
) -> None:
    """Hold a graph to the numbers of its checkpoint.

    Args:
        model: the checkpoint's; put into evaluation mode.
        proto: the graph.
        static: the only shape that the graph takes; None if it takes any.
        shapes: to compare on; `parity.default_shapes` if None, and always `static` if given.
        starting: told of each shape before it is compared.
        measured: given the comparison before it is judged.

    Raises:
        ModelError: they differ by more than `parity.BOUND`.
    """
    compared = [static] if static else shapes or parity.default_shapes(model)
    rows = parity.measure(model, proto.SerializeToString(), compared, starting)
    measured(rows)
    parity.require(rows)


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
