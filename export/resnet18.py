"""ResNet-18 folded: without batch norms, on BGR grey levels, and with one logit."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from export.convolution import PaddedConv, fold_batch_norm
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from training.models.resnet18 import FAKE, REAL, Block, ResNet18


class WithoutMean(nn.Module):
    """Grey levels less the mean colour, which is what zeros beyond the edges mean."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean = 255 * torch.tensor(IMAGENET_MEAN[::-1], dtype=torch.float64)
        self.register_buffer("mean", mean.float()[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] BGR → the same."""
        return x - self.mean


class FoldedBlock(nn.Module):
    """A block without batch norms."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _folded(block.conv1, block.bn1), nn.ReLU(), _folded(block.conv2, block.bn2)
        )
        self.shortcut = block.downsample
        if isinstance(block.downsample, nn.Sequential):
            conv, norm = block.downsample
            self.shortcut = _folded(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, h, w]."""
        return torch.relu(self.inner(x) + self.shortcut(x))


class FoldedResNet18(nn.Module):
    """Pixels, trunk and head; the contract of a model file without patches."""

    def __init__(self, model: ResNet18) -> None:
        super().__init__()
        self.pixels = WithoutMean()
        self.trunk = nn.Sequential(
            _folded_stem(model),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            *(FoldedBlock(block) for block in model.blocks),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = _folded_head(model)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames uint8 [N, H, W, 3] BGR → logit float32 [N]."""
        # TensorRT takes uint8 into a Cast alone, so that the cast comes before all else.
        x = frames.to(torch.float32).permute(0, 3, 1, 2)
        logit: Tensor = self.head(self.trunk(self.pixels(x)))
        return logit.squeeze(1)


def fold_resnet18(model: ResNet18) -> FoldedResNet18:
    """Fold a ResNet-18."""
    return FoldedResNet18(model)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> PaddedConv:
    return _padded(conv, *fold_batch_norm(conv.weight, norm))


def _folded_stem(model: ResNet18) -> PaddedConv:
    weight, bias = fold_batch_norm(model.conv1.weight, model.bn1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    return _padded(model.conv1, (weight / (255 * std)[:, None, None]).flip(1), bias)


def _padded(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> PaddedConv:
    rows, columns = (int(border) for border in conv.padding)
    return PaddedConv(weight, bias, conv.stride, (rows, columns, rows, columns))


def _folded_head(model: ResNet18) -> nn.Sequential:
    if model.hidden is None:
        return nn.Sequential(_difference(cast(nn.Linear, model.fc[1])))
    hidden, norm = cast(nn.Linear, model.fc[1]), cast(nn.BatchNorm1d, model.fc[3])
    last = _after_norm(norm, _difference(cast(nn.Linear, model.fc[5])))
    return nn.Sequential(_linear(hidden.weight, hidden.bias), nn.ReLU(), last)


def _difference(classes: nn.Linear) -> nn.Linear:
    """The logit of fake less that of real, of both classes' layer."""
    weight, bias = classes.weight.double(), classes.bias.double()
    return _linear(weight[FAKE : FAKE + 1] - weight[REAL : REAL + 1], bias[FAKE:] - bias[REAL])


def _after_norm(norm: nn.BatchNorm1d, layer: nn.Linear) -> nn.Linear:
    """A linear layer with the batch norm before it folded in."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # the statistics are never turned off
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    shift = norm.bias.double() - mean * scale
    weight = layer.weight.double()
    return _linear(weight * scale, layer.bias.double() + weight @ shift)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    outputs, inputs = weight.shape
    result = nn.Linear(inputs, outputs)
    result.weight.copy_(weight)
    result.bias.copy_(bias)
    return result
