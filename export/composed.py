"""Every model composed of `training.models.layers`, folded layer by layer.

The trunk keeps its own `forward`. Only the layers that hold weights are replaced, and those that
read levels take grey levels in the order BGR. Where a layer sees zeros beyond the edges, which
mean mid-grey, mid-grey is subtracted first; everywhere else it would leave no trace.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from export.convolution import PaddedConv, Sides, fixed_conv, fold_batch_norm
from export.folded import Folded, folded_head
from export.pixels import full_size_pixels
from training.models.composed import ComposedModel
from training.models.layers import CENTRE, SCALE, Border, ConvNorm
from training.models.residuals import Residuals


class Centred(nn.Module):
    """Grey levels less mid-grey; whole numbers, and exact in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → the same."""
        return x - CENTRE


def fold_composed(model: ComposedModel) -> Folded:
    """Fold a composed model."""
    trunk = copy.deepcopy(model.trunk)
    for parent in list(trunk.modules()):
        for name, child in parent.named_children():
            if isinstance(child, ConvNorm):
                setattr(parent, name, _folded_layer(child))
            elif isinstance(child, Residuals):
                setattr(parent, name, _folded_residuals(child))
    pixels = full_size_pixels(model.preprocessing)
    if model.trunk.bordered and model.preprocessing == "raw":
        pixels = Centred()
    return Folded(pixels, trunk, folded_head(model, model.fc.in_features), model.pooling)


def on_grey_levels(weight: Tensor) -> Tensor:
    """A kernel on RGB levels as one on centred BGR grey levels, both [O, 3, h, w]."""
    return weight.flip(1) / SCALE


def _folded_layer(layer: ConvNorm) -> nn.Module:
    weight, bias = fold_batch_norm(layer.conv.weight, layer.norm)
    if layer.reads_levels:
        weight = on_grey_levels(weight)
    conv = PaddedConv(weight, bias, layer.conv.stride, _sides(layer.border), layer.conv.groups)
    return nn.Sequential(conv, layer.activation)


def _folded_residuals(residuals: Residuals) -> nn.Module:
    weight = on_grey_levels(residuals.weight().double())
    return nn.Sequential(fixed_conv(weight, weight.new_zeros(len(weight))), residuals.truncation)


def _sides(border: Border) -> Sides:
    before, after = border
    return before, before, after, after
