"""The trunk of EfficientNet-Lite0, whole or cut, so that a map of patches is left.

Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019; Lite is
their smallest network with ReLU6 and without squeeze-and-excitation. A patch sees far more than a
stride, and zeros (mid-grey) beyond the edges. A map has ⌊H / stride⌋ rows.
"""

from __future__ import annotations

from torch import Tensor, nn

from training.models.composed import Trunk
from training.models.initialise import he_initialise
from training.models.layers import Border, ConvNorm, grid_of

STEM = 32
STAGES = (
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)
"""Expansion, channels, kernel, stride of the first block, blocks."""

BLOCKS = {8: 5, 16: 11, 32: 16}
"""Stride of the map → how many blocks are kept."""

NORM_EPS = 1e-3
NORM_MOMENTUM = 0.01
DROPOUT = 0.2


def same_border(kernel: int, stride: int) -> Border:
    """The zeros with which a map of even size n leaves with n / stride rows."""
    return (kernel - stride) // 2, (kernel - stride + 1) // 2


def _conv(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    active: bool = True,
    reads_levels: bool = False,
) -> ConvNorm:
    return ConvNorm(
        inputs,
        outputs,
        kernel,
        stride=stride,
        border=same_border(kernel, stride),
        groups=groups,
        activation=nn.ReLU6(inplace=True) if active else None,
        norm=nn.BatchNorm2d(outputs, eps=NORM_EPS, momentum=NORM_MOMENTUM),
        reads_levels=reads_levels,
    )


class InvertedBlock(nn.Module):
    """1×1 up, k×k on each channel, 1×1 down without activation; plus the input where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand: nn.Module = _conv(inputs, inner) if expansion > 1 else nn.Identity()
        self.depthwise = _conv(inner, inner, kernel, stride, groups=inner)
        self.project = _conv(inner, outputs, active=False)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, h, w]."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.skips else out


class LiteTrunk(Trunk):
    """The stem and the first blocks.

    Args:
        stride: a key of `BLOCKS`.
    """

    bordered = True

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stem = _conv(3, STEM, 3, 2, reads_levels=True)
        blocks, self.channels = _blocks(BLOCKS[stride])
        self.blocks = nn.Sequential(*blocks)
        self.drop = nn.Dropout2d(DROPOUT)
        self.grid = grid_of([self.stem.step, *(block.depthwise.step for block in blocks)])
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, channels, ⌊H / stride⌋, ⌊W / stride⌋]."""
        out: Tensor = self.drop(self.blocks(self.stem(x)))
        return out


def _blocks(count: int) -> tuple[list[InvertedBlock], int]:
    blocks: list[InvertedBlock] = []
    channels = STEM
    for expansion, outputs, kernel, stride, depth in STAGES:
        for index in range(depth):
            if len(blocks) == count:
                return blocks, channels
            step = stride if index == 0 else 1
            blocks.append(InvertedBlock(channels, outputs, kernel, step, expansion))
            channels = outputs
    return blocks, channels
