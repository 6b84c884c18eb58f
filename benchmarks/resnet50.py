"""ResNet-50, what most projects would deploy as a detector, to be timed beside our models.

He et al., Deep Residual Learning for Image Recognition, 2015, table 1; the stride of a stage lies
in the 3×3 convolution of its first block, as in the version that is in common use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.models.base import he_initialise
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Planes, blocks and stride of each stage."""

EXPANSION = 4
INPUT_HW = (224, 224)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Block(nn.Module):
    """1×1, 3×3, 1×1, each with a batch norm, added to the input or to its projection."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        first, second = _conv(inputs, planes, 1), _conv(planes, planes, 3, stride)
        self.body = nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU(), *_conv(planes, outputs, 1))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, 4·planes, ⌈H/stride⌉, ⌈W/stride⌉]."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """25,557,032 weights with the 1000 classes that it was published with."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers = [*_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        inputs = 64
        for planes, count, stride in STAGES:
            for index in range(count):
                layers.append(Block(inputs, planes, stride if index == 0 else 1))
                inputs = planes * EXPANSION
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(inputs, classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Float32 [N, 3, H, W] RGB, ImageNet-normalised → [N, classes]."""
        out: Tensor = self.fc(self.trunk(x))
        return out


class ResNet50Detector(nn.Module):
    """A ResNet-50 with one output, from frames."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ResNet50(classes=1)
        self.mean = nn.Parameter(torch.tensor(IMAGENET_MEAN)[:, None, None], requires_grad=False)
        self.std = nn.Parameter(torch.tensor(IMAGENET_STD)[:, None, None], requires_grad=False)

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        """Frames uint8 [N, H, W, 3] BGR → logit float32 [N]."""
        rgb = frames.to(torch.float32).permute(0, 3, 1, 2)[:, [2, 1, 0]]
        return (self.network((rgb / 255 - self.mean) / self.std)[:, 0],)
