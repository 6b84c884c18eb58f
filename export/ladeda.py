"""LaDeDa folded: its blocks without batch norms."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from export.convolution import fixed_conv, fold_batch_norm
from export.folded import Folded, folded_head
from export.pixels import full_size_pixels
from export.stem import folded_stem
from training.models.ladeda import Bottleneck, LaDeDa, cropped


def _folded_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    return fixed_conv(*fold_batch_norm(conv.weight, norm), stride=conv.stride)


def _folded_shortcut(shortcut: nn.Module) -> nn.Module:
    if not isinstance(shortcut, nn.Sequential):
        return shortcut
    conv, norm = shortcut
    return _folded_conv(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))


class FoldedBottleneck(nn.Module):
    """A bottleneck without batch norms."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _folded_conv(block.conv1, block.bn1),
            nn.ReLU(),
            _folded_conv(block.conv2, block.bn2),
            nn.ReLU(),
            _folded_conv(block.conv3, block.bn3),
        )
        self.shortcut = _folded_shortcut(block.downsample)
        self.crop = block.crop

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, 4·planes, h, w]."""
        return torch.relu(self.inner(x) + cropped(self.shortcut(x), self.crop))


def fold_ladeda(model: LaDeDa) -> Folded:
    """Fold a LaDeDa."""
    blocks = [FoldedBottleneck(block) for block in model.blocks]
    trunk = nn.Sequential(fixed_conv(*folded_stem(model)), nn.ReLU(), *blocks)
    head = folded_head(model, model.fc.in_features)
    return Folded(full_size_pixels(model.preprocessing), trunk, head, model.pooling)
