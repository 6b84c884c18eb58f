"""ResNet-18, which judges a picture whole, made for faces: He et al., 2015.

Its layers carry the names under which the ImageNet weights are published, apart from the head.
Zeros around a normalised picture mean the mean colour, and any height and width is taken.
"""

from __future__ import annotations

import re
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import UsageError
from training.models.base import Model, he_initialise

NAME = "resnet18"
PLANES = (64, 128, 256, 512)
"""Channels of the four layers; the stem has as many as the first."""

BLOCKS = 2
REAL, FAKE = 0, 1
"""Columns of the class logits."""

SMALLEST = 32
"""Height and width in pixels for which the last map has one place; less is mostly border."""

_NAMED = re.compile(rf"{NAME}(?:_hidden([1-9]\d{{0,4}}))?")


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut, which is a 1×1 convolution where sizes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, ⌈H/stride⌉, ⌈W/stride⌉]."""
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = self.relu(out + self.downsample(x))
        return out


class ResNet18(Model):
    """ResNet-18 with two classes, real and fake.

    Args:
        dropout: share of features that a step of the training leaves out.
        hidden: channels of a hidden layer before the classes; None for none.

    Attributes:
        fc: dropout and a linear layer; or dropout, the hidden layer, ReLU, batch norm, dropout
            and a linear layer.
    """

    def __init__(self, dropout: float = 0.0, hidden: int | None = None) -> None:
        super().__init__(NAME if hidden is None else f"{NAME}_hidden{hidden}", "raw", SMALLEST)
        self.hidden = hidden
        self.conv1 = nn.Conv2d(3, PLANES[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(PLANES[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(PLANES[0], PLANES[0], 1)
        self.layer2 = _layer(PLANES[0], PLANES[1], 2)
        self.layer3 = _layer(PLANES[1], PLANES[2], 2)
        self.layer4 = _layer(PLANES[2], PLANES[3], 2)
        self.fc = _head(PLANES[3], dropout, hidden)
        he_initialise(self)

    @property
    def blocks(self) -> list[Block]:
        """All blocks in order."""
        layers = (self.layer1, self.layer2, self.layer3, self.layer4)
        return [cast(Block, block) for layer in layers for block in layer]

    def forward(self, x: Tensor) -> Tensor:
        """As of `Model`: the logit of fake less that of real."""
        logits = self.class_logits(x)
        return logits[:, FAKE] - logits[:, REAL]

    def class_logits(self, x: Tensor) -> Tensor:
        """Logits of real and of fake, float32 [N, 2]; input as of `forward`."""
        out: Tensor = self.fc(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
        return out

    def features(self, x: Tensor) -> Tensor:
        """The last map, [N, 512, ⌈H/32⌉, ⌈W/32⌉]; input as of `forward`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for block in self.blocks:
            x = block(x)
        return x


def is_resnet18(architecture: str) -> bool:
    """Whether a name is that of a ResNet-18, with or without a hidden layer."""
    return _NAMED.fullmatch(architecture) is not None


def resnet18_named(architecture: str) -> ResNet18:
    """A ResNet-18 with fresh weights and without dropout, in training mode.

    Args:
        architecture: `resnet18`, or `resnet18_hidden256` with any number.

    Raises:
        UsageError: another name.
    """
    match = _NAMED.fullmatch(architecture)
    if match is None:
        raise UsageError(
            f"architecture {architecture!r} is not known. Expected {NAME} or {NAME}_hidden256."
        )
    return ResNet18(hidden=int(match[1]) if match[1] else None)


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    rest = [Block(outputs, outputs, 1) for _ in range(BLOCKS - 1)]
    return nn.Sequential(Block(inputs, outputs, stride), *rest)


def _head(inputs: int, dropout: float, hidden: int | None) -> nn.Sequential:
    if hidden is None:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, 2))
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(inputs, hidden),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(hidden),
        nn.Dropout(dropout),
        nn.Linear(hidden, 2),
    )
