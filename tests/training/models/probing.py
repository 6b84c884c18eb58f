"""Which pixels move a patch, found by differentiating."""

from __future__ import annotations

import torch
from torch import nn

from training.models import PatchModel, build
from training.models.layers import ConvNorm
from training.models.residuals import Residuals

Span = tuple[int, int]
"""First row, and the row after the last."""


def linear(architecture: str, preprocessing: str) -> PatchModel:
    """A model in float64 without activations, so that none of them hides a pixel."""
    torch.manual_seed(2)
    model = build(architecture, preprocessing).double().eval()
    for module in model.modules():
        if isinstance(module, ConvNorm):
            module.activation = nn.Identity()
        elif isinstance(module, Residuals):
            module.truncation = nn.Identity()
    return model.requires_grad_(False)


def rows_seen(model: PatchModel, row: int, size: tuple[int, int]) -> Span:
    """The rows of a picture that move the first patch of a row of the map."""
    x = torch.randn(1, 3, *size, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.patch_logits(x)[0, row, 0], x)
    touched = (gradient.abs().sum((0, 1, 3)) > 0).nonzero().flatten()
    return int(touched[0]), int(touched[-1]) + 1


def rows_told(model: PatchModel, row: int, height: int) -> Span:
    """The same as the grid tells them."""
    top = model.grid.offset + row * model.grid.stride
    return max(0, top), min(height, top + model.grid.receptive_field)
