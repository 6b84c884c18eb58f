"""Tiny-LaDeDa folded and packed.

Two neighbouring columns of its 8 channels (for NPR, the four pixels of a 2×2 block) lie side by
side as 16 (32) channels of a map of half the size. Its weights are the same, repeated where a
phase needs them. Runtimes work on blocks of 16 channels, and with 8 they would spend half of
every block, and most of the time, on padding and moving data.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.convolution import PaddedConv, fixed_conv, fold_batch_norm
from export.folded import Folded, folded_head, grown
from export.pixels import full_size_pixels, residual_blocks, without_zero_phase
from export.stem import folded_stem
from training.models.tiny_ladeda import TinyLaDeDa

BLOCK = 16
"""Channels that runtimes move and multiply together."""

Packing = tuple[int, int]
"""Rows and columns of pixels that lie side by side as channels: channel (p·columns + q)·C + c."""


def pack_outputs(weight: Tensor, packing: Packing) -> Tensor:
    """A kernel of stride 1 as one of stride `packing` that gives a packed map.

    Args:
        weight: [O, C, h, w].
        packing: rows and columns.

    Returns:
        [rows·columns·O, C, h + rows − 1, w + columns − 1].
    """
    rows, columns = packing
    phases = [
        F.pad(weight, (q, columns - 1 - q, p, rows - 1 - p))
        for p in range(rows)
        for q in range(columns)
    ]
    return torch.cat(phases)


def pack_inputs(weight: Tensor, packing: Packing) -> Tensor:
    """A kernel on pixels as one on a packed map; its stride divides by the packing.

    Args:
        weight: [O, C, h, w].
        packing: rows and columns.

    Returns:
        [O, rows·columns·C, ⌈h / rows⌉, ⌈w / columns⌉].
    """
    rows, columns = packing
    outputs, inputs, height, width = weight.shape
    padded = F.pad(weight, (0, -width % columns, 0, -height % rows))
    split = padded.reshape(outputs, inputs, -(-height // rows), rows, -(-width // columns), columns)
    return split.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def _packed_pixels(
    preprocessing: str, weight: Tensor, bias: Tensor
) -> tuple[Packing, nn.Module, nn.Module]:
    """The packing, the pixels and the packed stem of a 3×3 kernel on preprocessed pixels."""
    if preprocessing == "NPR":
        # Both parities of rows and of columns differ, so that the whole block is packed.
        packing = (2, 2)
        packed = pack_inputs(pack_outputs(weight, packing), packing)
        pixels, packed = without_zero_phase(residual_blocks(), packed)
        return packing, pixels, fixed_conv(packed, bias.repeat(4))
    packing = (1, 2)
    stem = PaddedConv(pack_outputs(weight, packing), bias.repeat(2), packing, (0, 0, 0, 1))
    return packing, full_size_pixels(preprocessing), stem


def fold_tiny(model: TinyLaDeDa) -> Folded:
    """Fold and pack a Tiny-LaDeDa."""
    packing, pixels, stem = _packed_pixels(model.preprocessing, *folded_stem(model))
    phases = packing[0] * packing[1]
    block = model.block
    mix, mix_bias = fold_batch_norm(block.conv1.weight, block.bn1)
    mix = torch.kron(torch.eye(phases).double(), mix[:, :, 0, 0])[:, :, None, None]
    patch, patch_bias = fold_batch_norm(block.conv2.weight, block.bn2)
    stride = [step // pack for step, pack in zip(block.conv2.stride, packing, strict=True)]
    # Eight channels that stay zero: half a block would be unpacked, moved and packed again.
    patch = grown(pack_inputs(patch, packing), 0, BLOCK)
    trunk = nn.Sequential(
        stem,
        nn.ReLU(),
        fixed_conv(mix, mix_bias.repeat(phases)),
        nn.ReLU(),
        fixed_conv(patch, grown(patch_bias, 0, BLOCK), stride),
        nn.ReLU(),
    )
    return Folded(pixels, trunk, folded_head(model, BLOCK), model.pooling)
