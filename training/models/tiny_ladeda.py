"""Tiny-LaDeDa: the student of 1,297 weights that sees patches of 5×5 pixels.

Cavia et al., Real-Time Deepfake Detection in the Real-World, 2024.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from training.models.base import PatchModel, he_initialise

PLANES = 8


class TinyBlock(nn.Module):
    """The only block: a 1×1 and a 3×3 convolution, no residual."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(PLANES, PLANES, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(PLANES)
        self.conv2 = nn.Conv2d(PLANES, PLANES, 3, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(PLANES)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 8, H, W] → [N, 8, ⌊(H−3)/2⌋+1, ⌊(W−3)/2⌋+1]."""
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(x)))
        return out


class TinyLaDeDa(PatchModel):
    """Tiny-LaDeDa with a preprocessing of choice."""

    def __init__(self, architecture: str, preprocessing: str) -> None:
        super().__init__(architecture, preprocessing, receptive_field=5, stride=2, channels=PLANES)
        self.conv1 = nn.Conv2d(3, PLANES, 1, bias=False)
        self.conv2 = nn.Conv2d(PLANES, PLANES, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(PLANES)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(TinyBlock())
        he_initialise(self)

    @property
    def block(self) -> TinyBlock:
        """The block of the only layer."""
        return cast(TinyBlock, self.layer1[0])

    def features(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, 8, h, w]."""
        out: Tensor = self.layer1(self.relu(self.bn1(self.conv2(self.conv1(x)))))
        return out
