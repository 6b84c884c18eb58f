"""Write a model file: fold, embed the manifest, check, compare, and only then put it in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from onnx import ModelProto

from edge.errors import UsageError
from edge.files import written_whole
from edge.manifest import Manifest
from export import parity
from export.fold import folded_module
from export.graph import Shape, embed, to_onnx
from export.lint import check
from export.parity import Parity
from export.precision.parts import name_front
from training.checkpoint import Card
from training.models import AnyModel, PatchModel


def manifest_of(model: AnyModel, card: Card) -> Manifest:
    """What the model file will say of itself."""
    return Manifest(
        name=card.name,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        parameters=sum(weight.numel() for weight in model.parameters()),
        patches=model.grid if isinstance(model, PatchModel) else None,
        region=card.region,
        calibration=card.calibration,
        training=card.training,
        validation=card.validation,
        licence=card.licence,
    )


def export_model(
    model: AnyModel,
    card: Card,
    path: Path,
    *,
    static: Shape | None = None,
    shapes: Sequence[Shape] | None = None,
    starting: Callable[[Shape], None] = lambda shape: None,
    measured: Callable[[Sequence[Parity]], None] = lambda rows: None,
) -> None:
    """Write a model file that gives the numbers of a checkpoint, or nothing.

    Args:
        model: the checkpoint's; put into evaluation mode.
        card: its card.
        path: of the model file; replaced if it exists.
        static: the only shape that the file will take; any shape if None.
        shapes: to compare on; `parity.default_shapes` if None, and always `static` if given.
        starting: told of each shape before it is compared.
        measured: given the comparison before it is judged.

    Raises:
        ContractError: the graph breaks the contract.
        ModelError: the file differs from the checkpoint by more than `parity.BOUND`.
        SinkError: the file cannot be written.
        UsageError: the model pools a map of one size alone, and `static` is None.
    """
    proto = graph_of(model, card, path.name, static)
    with written_whole(path, proto.SerializeToString()):
        prove(model, proto, static=static, shapes=shapes, starting=starting, measured=measured)


def graph_of(model: AnyModel, card: Card, name: str, static: Shape | None = None) -> ModelProto:
    """The graph of a model file: folded, with its manifest, and linted.

    Args:
        model: the checkpoint's; put into evaluation mode.
        card: its card.
        name: of the file, for messages.
        static: the only shape that the file will take; any shape if None.

    Raises:
        ContractError: the graph breaks the contract.
        UsageError: the model pools a map of one size alone, and `static` is None.
    """
    if isinstance(model, PatchModel) and model.pooling.needs_fixed_size and static is None:
        raise UsageError(
            f"{model.architecture} counts the highest patches, and how many they are depends on "
            "the size of the picture. Give --static NxHxW, or choose another pooling."
        )
    model.eval()
    proto = to_onnx(folded_module(model), static, patches=isinstance(model, PatchModel))
    name_front(proto.graph)
    embed(proto, manifest_of(model, card))
    check(proto, name)
    return proto


def prove(
    model: AnyModel,
    proto: ModelProto,
    *,
    static: Shape | None = None,
    shapes: Sequence[Shape] | None = None,
    starting: Callable[[Shape], None] = lambda shape: None,
    measured: Callable[[Sequence[Parity]], None] = lambda rows: None,
) -> None:
    """Hold a graph to the numbers of its checkpoint; arguments as of `export_model`.

    Raises:
        ModelError: they differ by more than `parity.BOUND`.
    """
    compared = [static] if static else shapes or parity.default_shapes(model)
    rows = parity.measure(model, proto.SerializeToString(), compared, starting)
    measured(rows)
    parity.require(rows)
