"""EfficientNet-Lite0, whole or its first blocks, with a head on all its levels.

Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019; Lite is
their smallest network with ReLU6 and without squeeze-and-excitation. A patch sees far more than a
stride, and zeros (mid-grey) beyond the edges. A map has ⌊H / stride⌋ rows.

Pixels reach it as *levels*: grey levels 0..255 less 127, over 128. The published weights fit that
scale, a zero border means mid-grey, and every step of it is exact in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from operator import mul

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import UsageError
from edge.manifest import PatchGrid
from training.models.base import PatchModel, he_initialise
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

CENTRE, SCALE = 127.0, 128.0
"""Levels are (grey level − CENTRE) / SCALE; of a difference of grey levels, difference / SCALE."""

STEM, STEM_STRIDE = 32, 2
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

BLOCKS = {16: 11, 32: 16}
"""Stride of the map → how many blocks are kept."""

NORM_EPS = 1e-3
NORM_MOMENTUM = 0.01


class Levels(nn.Module):
    """From ImageNet-normalised RGB to levels; both float32 [N, 3, H, W].

    Args:
        preprocessing: where it is not `raw`, values are differences, and have no centre.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, preprocessing: str) -> None:
        super().__init__()
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        shift = (255 * mean - CENTRE) / SCALE if preprocessing == "raw" else torch.zeros(3)
        # Not persistent: constants are no weights.
        self.register_buffer("scale", (255 * std / SCALE)[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift each colour."""
        return x * self.scale + self.shift


class ConvNorm(nn.Module):
    """A convolution whose map of even size n leaves with n / stride rows, a norm, and ReLU6.

    Attributes:
        border: zeros before (above and to the left) and after (below and to the right) the map.
        reads_levels: whether the input is RGB levels; export then reverses the colours.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        active: bool = True,
        reads_levels: bool = False,
    ) -> None:
        super().__init__()
        self.border = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.reads_levels = reads_levels
        even = self.border[0] if self.border[0] == self.border[1] else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, even, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        self.activation: nn.Module = nn.ReLU6(inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, ⌊H / stride⌋, ⌊W / stride⌋]."""
        before, after = self.border
        if before != after:
            x = F.pad(x, (before, after, before, after))
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


class InvertedBlock(nn.Module):
    """1×1 up, k×k on each channel, 1×1 down without activation; plus the input where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand: nn.Module = ConvNorm(inputs, inner) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, outputs, active=False)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, h, w]."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.skips else out


class LiteTrunk(nn.Module):
    """The stem and the first blocks, up to a map of a stride that is a key of `BLOCKS`."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3, STEM_STRIDE, reads_levels=True)
        specs = [
            (outputs, kernel, 1 if index else first, expansion)
            for expansion, outputs, kernel, first, depth in STAGES
            for index in range(depth)
        ][: BLOCKS[stride]]
        inputs = [STEM, *(outputs for outputs, *_ in specs)]
        blocks = (InvertedBlock(n, *spec) for n, spec in zip(inputs, specs, strict=False))
        self.blocks = nn.Sequential(*blocks)
        he_initialise(self)


class LiteLevelsTrunk(nn.Module):
    """Features of the stem and of every block, averaged over the cells of the coarsest map.

    What a decoder leaves lies in fine levels, what a generator draws badly lies in deep ones. A
    linear head reads the mean of each channel, so that a picture's logit is the mean of its patch
    logits. With `magnitudes` the values count without their signs: what a block gives is as often
    negative as positive, so that its mean says little of how much detail there is.

    Attributes:
        channels: of the features.
        grid: where each patch lies on the levels.
    """

    def __init__(self, stride: int, magnitudes: bool = False) -> None:
        super().__init__()
        self.magnitudes = magnitudes
        self.lite = LiteTrunk(stride)
        blocks = [block for block in self.lite.blocks if isinstance(block, InvertedBlock)]
        self.channels = STEM + sum(block.project.conv.out_channels for block in blocks)
        self.grid = grid_of([self.lite.stem, *(block.depthwise for block in blocks)])
        steps = (block.depthwise.conv.stride[0] for block in blocks)
        # Kept as numbers, for export replaces the layers that know them.
        self._cells = [stride // step for step in accumulate(steps, mul, initial=STEM_STRIDE)]

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, channels, ⌊H / stride⌋, ⌊W / stride⌋], finest level first."""
        return self.levels(x, 0, len(self._cells))[0]

    def levels(self, x: Tensor, start: int, end: int) -> tuple[Tensor, Tensor]:
        """The levels of the parts from `start` up to `end`, part 0 the stem, part i block i.

        Args:
            x: what part `start` takes: pixels, or the map after the part before it.
            start: first part.
            end: one past the last.

        Returns:
            The levels as of `forward`, and the map after the last part.
        """
        levels = []
        for part, cell in list(zip(self.parts(), self._cells, strict=True))[start:end]:
            x = part(x)
            # |x|, of operators that every runtime reads.
            level = 2 * F.relu(x) - x if self.magnitudes else x
            levels.append(F.avg_pool2d(level, cell) if cell > 1 else level)
        return torch.cat(levels, 1), x

    def parts(self) -> list[nn.Module]:
        """The stem and the blocks."""
        return [self.lite.stem, *self.lite.blocks]


TRUNKS = {
    "lite0_levels": partial(LiteLevelsTrunk, 32),
    "lite0_magnitudes_s16": partial(LiteLevelsTrunk, 16, magnitudes=True),
}


class LiteModel(PatchModel):
    """A Lite trunk on levels, with the head and the pooling of every patch model.

    Args:
        architecture: a key of `TRUNKS`.
        preprocessing: its name in `PREPROCESSINGS`, except NPR.

    Raises:
        UsageError: a preprocessing that the trunk does not take.
    """

    def __init__(self, architecture: str, preprocessing: str) -> None:
        if preprocessing == "NPR":
            # NPR works on blocks of 2×2, and no graph without shapes cuts an odd edge off again.
            raise UsageError(
                f"{architecture} takes preprocessing raw or a gradient, found NPR. Choose raw."
            )
        trunk = TRUNKS[architecture]()
        super().__init__(
            architecture,
            preprocessing,
            receptive_field=trunk.grid.receptive_field,
            stride=trunk.grid.stride,
            channels=trunk.channels,
            offset=trunk.grid.offset,
        )
        self.levels = Levels(preprocessing)
        self.trunk = trunk

    def features(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, channels, h, w]."""
        out: Tensor = self.trunk(self.levels(x))
        return out


def grid_of(layers: Sequence[ConvNorm]) -> PatchGrid:
    """Where the patches of a chain of convolutions lie.

    Starting from one pixel (side 1, stride 1, offset 0), a layer with kernel k, stride s and p
    zeros before the map gives

        side ← side + (k − 1)·stride,   offset ← offset − p·stride,   stride ← stride·s

    with the strides on the right those before the layer (Araujo et al., Computing Receptive
    Fields of Convolutional Neural Networks, Distill 2019).
    """
    side, stride, offset = 1, 1, 0
    for layer in layers:
        side += (layer.conv.kernel_size[0] - 1) * stride
        offset -= layer.border[0] * stride
        stride *= layer.conv.stride[0]
    return PatchGrid(receptive_field=side, stride=stride, offset=offset)
