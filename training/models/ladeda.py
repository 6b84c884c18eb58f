"""LaDeDa: a ResNet-50 whose kernels are nearly all 1×1, so that it sees only small patches.

Cavia et al., Real-Time Deepfake Detection in the Real-World, 2024, on the BagNet of Brendel and
Bethge, 2019. The first block of each of the first `k` layers has a 3×3 kernel: k = 1, 2, 3, 4
give receptive fields of 5, 9, 17, 33 pixels.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn

from training.models.base import PatchModel, he_initialise

DEPTHS = (3, 4, 6, 3)
PLANES = (64, 128, 256, 512)
STRIDES = (2, 2, 2, 1)
EXPANSION = 4
STEM = 64
WIDE_LAYERS = {5: 1, 9: 2, 17: 3, 33: 4}
"""Receptive field → how many layers begin with a 3×3 kernel."""


class Bottleneck(nn.Module):
    """1×1, k×k without padding, 1×1, plus the input cropped to what the middle kernel leaves.

    Attributes:
        crop: rows and columns that the residual loses at the bottom and at the right.
    """

    def __init__(self, inputs: int, planes: int, kernel: int, stride: int, first: bool) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel, stride=stride, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = (
            _downsample(inputs, outputs, stride) if first else nn.Identity()
        )
        # ⌊(n−1)/s⌋ − ⌊(n−k)/s⌋ is the same for every n, as s divides k−1: no size is looked up.
        self.crop = (kernel - 1) // stride

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, 4·planes, h, w]."""
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out = self.relu(out + cropped(self.downsample(x), self.crop))
        return out


def cropped(x: Tensor, crop: int) -> Tensor:
    """x without its last `crop` rows and columns; both [N, C, H, W]."""
    return x[:, :, :-crop, :-crop] if crop else x


class LaDeDa(PatchModel):
    """LaDeDa with a preprocessing and a receptive field (5, 9, 17 or 33 pixels) of choice."""

    def __init__(self, architecture: str, preprocessing: str, receptive_field: int) -> None:
        channels = PLANES[-1] * EXPANSION
        super().__init__(
            architecture,
            preprocessing,
            receptive_field=receptive_field,
            stride=math.prod(STRIDES),
            channels=channels,
        )
        self.conv1 = nn.Conv2d(3, STEM, 1, bias=False)
        self.conv2 = nn.Conv2d(STEM, STEM, 3, bias=False)
        # Published with a momentum of 0.001: a third of its first running variance would be left
        # after 1,000 steps, and the network at chance. A checkpoint holds none of the momentum.
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU(inplace=True)
        wide = WIDE_LAYERS[receptive_field]
        self.layer1 = _layer(0, 3 if wide > 0 else 1)
        self.layer2 = _layer(1, 3 if wide > 1 else 1)
        self.layer3 = _layer(2, 3 if wide > 2 else 1)
        self.layer4 = _layer(3, 3 if wide > 3 else 1)
        he_initialise(self)

    @property
    def blocks(self) -> list[Bottleneck]:
        """All blocks in order."""
        layers = (self.layer1, self.layer2, self.layer3, self.layer4)
        return [cast(Bottleneck, block) for layer in layers for block in layer]

    def features(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, 2048, h, w]."""
        x = self.relu(self.bn1(self.conv2(self.conv1(x))))
        for block in self.blocks:
            x = block(x)
        return x


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )


def _layer(index: int, first_kernel: int) -> nn.Sequential:
    planes = PLANES[index]
    inputs = PLANES[index - 1] * EXPANSION if index else STEM
    outputs = planes * EXPANSION
    first = Bottleneck(inputs, planes, first_kernel, STRIDES[index], first=True)
    rest = [Bottleneck(outputs, planes, 1, 1, first=False) for _ in range(DEPTHS[index] - 1)]
    return nn.Sequential(first, *rest)
