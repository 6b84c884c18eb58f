"""A patch model folded into as few operations as give the same numbers.

What is exact algebra is done once, in float64, on the weights:

- conv1 (1×1) and conv2 (3×3) have nothing between them and become one 3×3 convolution;
- batch norms, 1/255, 1/std and the order of the colours go into the convolutions;
- for `raw` the mean goes into a bias; for NPR it drops out of the difference; for the gradients
  it is subtracted first, as their border of zeros means "the mean", not "black";
- differences are taken on whole grey levels, before any scale: they stay exact in half precision;
- the linear head becomes a 1×1 convolution.

Tiny-LaDeDa is also *packed*: two neighbouring columns of its 8 channels (for NPR, the four pixels
of a 2×2 block) lie side by side as 16 (32) channels of a map of half the size. Its weights are
the same, repeated where a phase needs them. Runtimes work on blocks of 16 channels, and with 8
they would spend half of every block, and most of the time, on padding and moving data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import ModelError
from training.models import PatchModel
from training.models.ladeda import Bottleneck, LaDeDa, cropped
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, KERNELS
from training.models.tiny_ladeda import TinyLaDeDa

BLOCK = 16
"""Channels that runtimes move and multiply together."""

Packing = tuple[int, int]
"""Rows and columns of pixels that lie side by side as channels: channel (p·columns + q)·C + c."""


def folded_module(model: PatchModel) -> nn.Module:
    """Fold a model, preprocessing included.

    Args:
        model: its batch norms' running figures are used, as in evaluation mode; left unchanged.

    Returns:
        A module from `frames` (uint8 [N, H, W, 3] BGR) to (`logit` float32 [N], `patch_logits`
        float32 [N, h, w]).

    Raises:
        ModelError: an architecture that this cannot fold.
    """
    with torch.no_grad():
        if isinstance(model, TinyLaDeDa):
            return _fold_tiny(model).eval()
        if isinstance(model, LaDeDa):
            return _fold_ladeda(model).eval()
    raise ModelError(f"{model.architecture} cannot be folded. Fold TinyLaDeDa or LaDeDa.")


class Folded(nn.Module):
    """Pixels, a trunk of convolutions and the head; the contract of a model file."""

    def __init__(self, pixels: nn.Module, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.pixels = pixels
        self.trunk = trunk
        self.head = head

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames uint8 [N, H, W, 3] BGR → logit float32 [N], patch logits float32 [N, h, w]."""
        # TensorRT takes uint8 into a Cast alone, so that the cast comes before all else.
        x = frames.to(torch.float32).permute(0, 3, 1, 2)
        patches = self.head(self.trunk(self.pixels(x))).squeeze(1)
        # In two steps: one long float32 sum over a 1080p map is off by more than parity allows.
        return patches.mean(2).mean(1), patches


class _PaddedConvolution(torch.autograd.Function):
    """A convolution with zeros below and to the right; in ONNX one Conv instead of Pad and Conv."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: list[int], padding: list[int]
    ) -> Tensor:
        return F.conv2d(F.pad(x, (0, padding[1], 0, padding[0])), weight, bias, stride)

    @staticmethod
    def symbolic(
        g: Any, x: Any, weight: Any, bias: Any, stride: list[int], padding: list[int]
    ) -> Any:
        outputs, _, *kernel = weight.type().sizes()
        attributes = {
            "dilations_i": [1, 1],
            "kernel_shape_i": kernel,
            "pads_i": [0, 0, *padding],
            "strides_i": stride,
        }
        result = g.op("Conv", x, weight, bias, **attributes)
        return result.setType(x.type().with_sizes([None, outputs, None, None]))


_padded_convolution = cast(Callable[..., Tensor], _PaddedConvolution.apply)


class PaddedConv(nn.Module):
    """A convolution whose input gets `padding` rows below and columns to the right of zeros.

    With a stride of two an odd height thus keeps its last row. What the zeros give in the row
    that does not exist is read by no patch.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, stride: Sequence[int], padding: Sequence[int]
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.bias = nn.Parameter(bias.float(), requires_grad=False)
        self.stride = list(stride)
        self.padding = list(padding)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, O, h, w]."""
        return _padded_convolution(x, self.weight, self.bias, self.stride, self.padding)


class GradientPixels(nn.Module):
    """A gradient filter on grey levels less their mean; [N, 3, H, W] → the same, BGR."""

    mean: Tensor
    kernel: Tensor

    def __init__(self, kernel: str) -> None:
        super().__init__()
        mean = 255 * torch.tensor(IMAGENET_MEAN[::-1], dtype=torch.float64)
        self.register_buffer("mean", mean.float()[:, None, None])
        self.register_buffer("kernel", torch.tensor(KERNELS[kernel]).repeat(3, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Grey levels 0..255 → differences of grey levels."""
        return F.conv2d(x - self.mean, self.kernel, padding=1, groups=3)


def _residual_blocks() -> PaddedConv:
    """NPR of each 2×2 block: [N, 3, H, W] → [N, 12, ⌈H/2⌉, ⌈W/2⌉], packed; the first 3 are zero."""
    weight = torch.zeros(2, 2, 3, 3, 2, 2)
    for row, column in ((0, 1), (1, 0), (1, 1)):
        for colour in range(3):
            weight[row, column, colour, colour, row, column] = 1
            weight[row, column, colour, colour, 0, 0] = -1
    return PaddedConv(weight.flatten(0, 2), torch.zeros(12), stride=(2, 2), padding=(1, 1))


def _drop_zero_phase(blocks: PaddedConv, weight: Tensor) -> tuple[PaddedConv, Tensor]:
    """The corner of a block differs from itself by nothing: leave its 3 channels out."""
    kept = PaddedConv(blocks.weight[3:], blocks.bias[3:], blocks.stride, blocks.padding)
    return kept, weight[:, 3:]


def _unpacked_residuals() -> nn.Module:
    """NPR at full size: [N, 3, H, W] → [N, 3, H', W'], H' and W' rounded up to even."""
    blocks = _residual_blocks()
    # A pixel shuffle wants all places of one colour together.
    order = torch.arange(12).reshape(4, 3).T.flatten()
    colours = PaddedConv(blocks.weight[order], blocks.bias[order], blocks.stride, blocks.padding)
    return nn.Sequential(colours, nn.PixelShuffle(2))


def _full_size_pixels(preprocessing: str) -> nn.Module:
    if preprocessing in KERNELS:
        return GradientPixels(preprocessing)
    return _unpacked_residuals() if preprocessing == "NPR" else nn.Identity()


def _fold_batch_norm(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of a convolution without bias followed by a batch norm."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # no model here turns the statistics off
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    return weight.double() * scale[:, None, None, None], norm.bias.double() - mean * scale


def _stem(model: TinyLaDeDa | LaDeDa) -> tuple[Tensor, Tensor]:
    """conv1, conv2, bn1, 1/255 and 1/std as one 3×3 kernel on BGR grey levels, and its bias."""
    first, second = model.conv1.weight.double(), model.conv2.weight.double()
    weight = torch.einsum("omyx,mc->ocyx", second, first[:, :, 0, 0])
    weight, bias = _fold_batch_norm(weight, model.bn1)
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    if model.preprocessing == "raw":
        bias = bias - torch.einsum("ocyx,c->o", weight, mean / std)
    weight = weight / (255 * std)[:, None, None]
    return weight.flip(1), bias


def _conv(weight: Tensor, bias: Tensor, stride: Sequence[int] = (1, 1)) -> nn.Conv2d:
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(inputs, outputs, (height, width), stride=(stride[0], stride[1]))
    conv.weight.copy_(weight)
    assert conv.bias is not None  # asked for by default
    conv.bias.copy_(bias)
    return conv


def _head(model: PatchModel, inputs: int) -> nn.Conv2d:
    """The linear head as a 1×1 convolution on `inputs` channels; those it does not know weigh 0."""
    weight = model.fc.weight[:, :, None, None]
    return _conv(_grown(weight, 1, inputs), model.fc.bias)


def _grown(x: Tensor, axis: int, size: int) -> Tensor:
    """x with zeros appended along an axis up to a size."""
    shape = list(x.shape)
    shape[axis] = size - shape[axis]
    return torch.cat([x, x.new_zeros(shape)], axis)


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
        pixels, packed = _drop_zero_phase(_residual_blocks(), packed)
        return packing, pixels, _conv(packed, bias.repeat(4))
    packing = (1, 2)
    stem = PaddedConv(pack_outputs(weight, packing), bias.repeat(2), packing, padding=(0, 1))
    return packing, _full_size_pixels(preprocessing), stem


def _fold_tiny(model: TinyLaDeDa) -> Folded:
    packing, pixels, stem = _packed_pixels(model.preprocessing, *_stem(model))
    phases = packing[0] * packing[1]
    block = model.block
    mix, mix_bias = _fold_batch_norm(block.conv1.weight, block.bn1)
    mix = torch.kron(torch.eye(phases).double(), mix[:, :, 0, 0])[:, :, None, None]
    patch, patch_bias = _fold_batch_norm(block.conv2.weight, block.bn2)
    stride = [step // pack for step, pack in zip(block.conv2.stride, packing, strict=True)]
    # Eight channels that stay zero: half a block would be unpacked, moved and packed again.
    patch = _grown(pack_inputs(patch, packing), 0, BLOCK)
    trunk = nn.Sequential(
        stem,
        nn.ReLU(),
        _conv(mix, mix_bias.repeat(phases)),
        nn.ReLU(),
        _conv(patch, _grown(patch_bias, 0, BLOCK), stride),
        nn.ReLU(),
    )
    return Folded(pixels, trunk, _head(model, BLOCK))


def _folded_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    return _conv(*_fold_batch_norm(conv.weight, norm), stride=conv.stride)


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


def _fold_ladeda(model: LaDeDa) -> Folded:
    blocks = [FoldedBottleneck(block) for block in model.blocks]
    trunk = nn.Sequential(_conv(*_stem(model)), nn.ReLU(), *blocks)
    return Folded(_full_size_pixels(model.preprocessing), trunk, _head(model, model.fc.in_features))
