"""Models whose batch norms have seen something, so that folding them has an effect."""

from __future__ import annotations

import functools

import torch
from onnx import ModelProto
from torch import nn

from edge.manifest import Training
from export.graph import Shape
from export.model_file import graph_of
from training.checkpoint import Card
from training.models import Model, PatchModel, build


def lively(architecture: str, preprocessing: str) -> PatchModel:
    """A model with random weights, also in its batch norms, in evaluation mode."""
    torch.manual_seed(3)
    model = build(architecture, preprocessing)
    stir(model)
    return model.eval()


def stir(model: nn.Module) -> None:
    """Give batch norms figures as if they had seen something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.2)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)


def make_card(model: Model, **changes: object) -> Card:
    """A card that describes a model."""
    fields: dict[str, object] = {
        "name": "lively",
        "architecture": model.architecture,
        "preprocessing": model.preprocessing,
        "training": Training(data="chance"),
        "licence": "CC0",
    }
    return Card.model_validate(fields | changes)


def lively_graph(
    architecture: str = "tiny_ladeda", preprocessing: str = "x_grad", static: Shape | None = None
) -> ModelProto:
    """The graph of a lively model's file, with its manifest; the caller may change it."""
    copy = ModelProto()
    copy.CopyFrom(_lively_graph(architecture, preprocessing, static))
    return copy


@functools.cache
def _lively_graph(architecture: str, preprocessing: str, static: Shape | None) -> ModelProto:
    model = lively(architecture, preprocessing)
    return graph_of(model, make_card(model), "it", static)
