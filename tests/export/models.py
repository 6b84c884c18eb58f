"""Models whose batch norms have seen something, so that folding them has an effect."""

from __future__ import annotations

import torch
from torch import nn

from edge.manifest import Training
from training.checkpoint import Card
from training.models import PatchModel, build


def lively(architecture: str, preprocessing: str) -> PatchModel:
    """A model with random weights, also in its batch norms, in evaluation mode."""
    torch.manual_seed(3)
    model = build(architecture, preprocessing)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                _stir(module)
    return model.eval()


def _stir(norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    norm.weight.uniform_(0.5, 1.2)
    norm.bias.normal_(0, 0.2)
    norm.running_mean.normal_(0, 0.2)
    norm.running_var.uniform_(0.5, 1.5)


def make_card(model: PatchModel, **changes: object) -> Card:
    """A card that describes a model."""
    fields: dict[str, object] = {
        "name": "lively",
        "architecture": model.architecture,
        "preprocessing": model.preprocessing,
        "training": Training(data="chance"),
        "licence": "CC0",
    }
    return Card.model_validate(fields | changes)
