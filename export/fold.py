"""A model folded into as few operations as give the same numbers.

What is exact algebra is done once, in float64, on the weights:

- where two convolutions have nothing between them (the stem of LaDeDa), they become one;
- batch norms, 1/255, 1/std and the order of the colours go into the convolutions;
- for `raw` the mean goes into a bias; for NPR it drops out of the difference; for the gradients
  it is subtracted first, as their border of zeros means "the mean", not "black";
- differences are taken on whole grey levels, before any scale: they stay exact in half precision;
- the linear head becomes a 1×1 convolution.

Each network has a rule here, registered for its class; one without a rule is exported as it stands.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import singledispatch
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.convolution import (
    PaddedConv,
    Shifted,
    fold_batch_norm,
    full_size_pixels,
    norm_as_affine,
    normed_conv,
    padded_like,
    residual_blocks,
    without_mean,
)
from training.models import Model, PatchModel, ResNet18
from training.models.ladeda import Bottleneck, LaDeDa, cropped
from training.models.lite import CENTRE, SCALE, ConvNorm, LiteModel
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from training.models.resnet18 import FAKE, REAL, Block
from training.models.tiny_ladeda import TinyLaDeDa

Outputs = tuple[Tensor, Tensor] | Tensor
"""Logit float32 [N], and patch logits float32 [N, h, w] where the model has a map."""

BLOCK = 16
"""Channels that runtimes move and multiply together."""

Packing = tuple[int, int]
"""Rows and columns of pixels that lie side by side as channels: channel (p·columns + q)·C + c."""


def folded_module(model: Model) -> nn.Module:
    """A folded copy, preprocessing included: `frames` (uint8 [N, H, W, 3] BGR) → `Outputs`.

    Batch norms are taken with their running figures, as in evaluation mode.
    """
    with torch.no_grad():
        return fold(model).eval()


class Unfolded(nn.Module):
    """One step after the other."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, 255 * torch.tensor(values)[:, None, None])

    def normalised(self, frames: Tensor) -> Tensor:
        """Frames uint8 [N, H, W, 3] BGR → float32 [N, 3, H, W] RGB, ImageNet-normalised."""
        # TensorRT takes uint8 into a Cast alone, so that the cast comes before all else.
        x = frames.to(torch.float32).permute(0, 3, 1, 2)
        rgb = torch.cat([x[:, 2:], x[:, 1:2], x[:, :1]], 1)
        return (rgb - self.mean) / self.std

    def forward(self, frames: Tensor) -> Outputs:
        logit, patches = self.model.evidence(self.normalised(frames))
        return logit if patches is None else (logit, patches)


class Folded(nn.Module):
    """Pixels, a trunk of convolutions and the head; the contract of a model file."""

    def __init__(self, model: Model, pixels: nn.Module, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.pixels = pixels
        self.trunk = trunk
        self.head = head
        self.has_map = model.grid is not None

    def forward(self, frames: Tensor) -> Outputs:
        x = frames.to(torch.float32).permute(0, 3, 1, 2)
        found: Tensor = self.head(self.trunk(self.pixels(x))).squeeze(1)
        return (Model.pooled(found), found) if self.has_map else found


class FoldedBlock(nn.Module):
    """Convolutions with activations between them beside a shortcut."""

    def __init__(self, convolutions: Sequence[PaddedConv], shortcut: nn.Module, crop: int) -> None:
        super().__init__()
        between = [part for conv in convolutions[1:] for part in (nn.ReLU(), conv)]
        self.inner = nn.Sequential(convolutions[0], *between)
        self.shortcut = shortcut
        if isinstance(shortcut, nn.Sequential):
            conv, norm = shortcut
            self.shortcut = normed_conv(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
        self.crop = crop

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, h, w]."""
        return torch.relu(self.inner(x) + cropped(self.shortcut(x), self.crop))


@singledispatch
def fold(model: Model) -> nn.Module:
    """The rule for a class of models; this one, for those without a rule, folds nothing."""
    return Unfolded(copy.deepcopy(model))


@fold.register
def _(model: LaDeDa) -> Folded:
    trunk = nn.Sequential(PaddedConv(*_folded_stem(model)), nn.ReLU(), *map(_block, model.blocks))
    head = _folded_head(model, model.fc.in_features)
    return Folded(model, full_size_pixels(model.preprocessing), trunk, head)


@fold.register
def _(model: TinyLaDeDa) -> Folded:
    """Fold and pack.

    Two neighbouring columns of its 8 channels (for NPR, the four pixels of a 2×2 block) lie side
    by side as 16 (32) channels of a map of half the size. Its weights are the same, repeated where
    a phase needs them. With 8 channels runtimes would spend half of every block, and most of the
    time, on padding and moving data.
    """
    packing, pixels, stem = _packed_pixels(model.preprocessing, *_folded_stem(model))
    phases = packing[0] * packing[1]
    block = model.block
    mix, mix_bias = fold_batch_norm(block.conv1.weight, block.bn1)
    mix = torch.kron(torch.eye(phases).double(), mix[:, :, 0, 0])[:, :, None, None]
    patch, patch_bias = fold_batch_norm(block.conv2.weight, block.bn2)
    stride = [step // pack for step, pack in zip(block.conv2.stride, packing, strict=True)]
    # Eight channels that stay zero: half a block would be unpacked, moved and packed again.
    patch = _grown(pack_inputs(patch, packing), 0, BLOCK)
    trunk = nn.Sequential(
        stem,
        nn.ReLU(),
        PaddedConv(mix, mix_bias.repeat(phases)),
        nn.ReLU(),
        PaddedConv(patch, _grown(patch_bias, 0, BLOCK), stride),
        nn.ReLU(),
    )
    return Folded(model, pixels, trunk, _folded_head(model, BLOCK))


@fold.register
def _(model: LiteModel) -> Folded:
    """Replace the layers that hold weights; the trunk keeps its own `forward`.

    Those that read levels take grey levels in the order BGR. Zeros beyond the edges mean mid-grey,
    so that mid-grey is subtracted first.
    """
    trunk = copy.deepcopy(model.trunk)
    for parent in list(trunk.modules()):
        for name, child in parent.named_children():
            if isinstance(child, ConvNorm):
                setattr(parent, name, _folded_layer(child))
    pixels = full_size_pixels(model.preprocessing)
    if model.preprocessing == "raw":
        pixels = Shifted([CENTRE] * 3)
    return Folded(model, pixels, trunk, _folded_head(model, model.fc.in_features))


@fold.register
def _(model: ResNet18) -> Folded:
    """Fold; the two classes leave as one logit, their difference."""
    weight, bias = fold_batch_norm(model.conv1.weight, model.bn1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    weight = (weight / (255 * std)[:, None, None]).flip(1)
    trunk = nn.Sequential(
        padded_like(model.conv1, weight, bias),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        *map(_block, model.blocks),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return Folded(model, without_mean(), trunk, _classes_head(model))


def pack_outputs(weight: Tensor, packing: Packing) -> Tensor:
    """A kernel [O, C, h, w] of stride 1 as one of stride `packing` that gives a packed map:
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
    """A kernel [O, C, h, w] on pixels as one on a packed map, [O, rows·columns·C, ⌈h / rows⌉,
    ⌈w / columns⌉]; its stride divides by the packing.
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
    if preprocessing != "NPR":
        packing = (1, 2)
        stem = PaddedConv(pack_outputs(weight, packing), bias.repeat(2), packing, (0, 0, 0, 1))
        return packing, full_size_pixels(preprocessing), stem
    # Both parities of rows and of columns differ, so that the whole block is packed. Its corner
    # differs from itself by nothing: those 3 channels are left out.
    packing = (2, 2)
    packed = pack_inputs(pack_outputs(weight, packing), packing)
    blocks = residual_blocks()
    pixels = PaddedConv(blocks.weight[3:], blocks.bias[3:], blocks.stride, blocks.sides)
    return packing, pixels, PaddedConv(packed[:, 3:], bias.repeat(4))


def _folded_stem(model: TinyLaDeDa | LaDeDa) -> tuple[Tensor, Tensor]:
    """conv1, conv2, bn1, 1/255 and 1/std as one 3×3 kernel on BGR grey levels, and its bias."""
    first, second = model.conv1.weight.double(), model.conv2.weight.double()
    weight = torch.einsum("omyx,mc->ocyx", second, first[:, :, 0, 0])
    weight, bias = fold_batch_norm(weight, model.bn1)
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    if model.preprocessing == "raw":
        bias = bias - torch.einsum("ocyx,c->o", weight, mean / std)
    weight = weight / (255 * std)[:, None, None]
    return weight.flip(1), bias


def _block(block: Bottleneck | Block) -> FoldedBlock:
    pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Block):
        return FoldedBlock([normed_conv(*pair) for pair in pairs], block.downsample, 0)
    pairs.append((block.conv3, block.bn3))
    return FoldedBlock([normed_conv(*pair) for pair in pairs], block.downsample, block.crop)


def _folded_layer(layer: ConvNorm) -> nn.Module:
    weight, bias = fold_batch_norm(layer.conv.weight, layer.norm)
    if layer.reads_levels:
        weight = weight.flip(1) / SCALE
    before, after = layer.border
    sides = (before, before, after, after)
    conv = PaddedConv(weight, bias, layer.conv.stride, sides, layer.conv.groups)
    return nn.Sequential(conv, layer.activation)


def _folded_head(model: PatchModel, inputs: int) -> PaddedConv:
    """The linear head as a 1×1 convolution on `inputs` channels; those it does not know weigh 0."""
    return PaddedConv(_grown(model.fc.weight[:, :, None, None], 1, inputs), model.fc.bias)


def _grown(x: Tensor, axis: int, size: int) -> Tensor:
    """x with zeros appended along an axis up to a size."""
    shape = list(x.shape)
    shape[axis] = size - shape[axis]
    return torch.cat([x, x.new_zeros(shape)], axis)


def _classes_head(model: ResNet18) -> nn.Sequential:
    """The logit of fake less that of real; a hidden layer's batch norm goes into the last layer."""
    classes = cast(nn.Linear, model.fc[-1])
    both, biases = classes.weight.double(), classes.bias.double()
    weight, bias = both[FAKE : FAKE + 1] - both[REAL : REAL + 1], biases[FAKE:] - biases[REAL]
    if model.hidden is None:
        return nn.Sequential(_linear(weight, bias))
    hidden = cast(nn.Linear, model.fc[1])
    scale, shift = norm_as_affine(cast(nn.BatchNorm1d, model.fc[3]))
    last = _linear(weight * scale, bias + weight @ shift)
    return nn.Sequential(_linear(hidden.weight, hidden.bias), nn.ReLU(), last)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    outputs, inputs = weight.shape
    result = nn.Linear(inputs, outputs)
    result.weight.copy_(weight)
    result.bias.copy_(bias)
    return result
