"""A head that reads every level of the Lite trunk, edges and objects alike.

What a decoder leaves lies in fine levels, what a generator draws badly lies in deep ones. The head
is linear in the mean of each channel, so that a picture's logit is the mean of its patch logits.
"""

from __future__ import annotations

from itertools import accumulate
from operator import mul

import torch
from torch import Tensor
from torch.nn import functional as F

from training.models.composed import Trunk
from training.models.lite import STEM, InvertedBlock, LiteTrunk

STRIDE = 32
STEM_STRIDE = 2


class LiteLevelsTrunk(Trunk):
    """Features of the stem and of every block, averaged over the cells of the coarsest map."""

    bordered = True

    def __init__(self) -> None:
        super().__init__()
        self.lite = LiteTrunk(STRIDE)
        blocks = [block for block in self.lite.blocks if isinstance(block, InvertedBlock)]
        self.channels = STEM + sum(block.project.conv.out_channels for block in blocks)
        self.grid = self.lite.grid
        strides = accumulate(
            (block.depthwise.step.stride for block in blocks), mul, initial=STEM_STRIDE
        )
        # Kept as numbers, for export replaces the layers that know them.
        self._cells = [STRIDE // stride for stride in strides]

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, channels, ⌊H / 32⌋, ⌊W / 32⌋], finest level first."""
        levels = []
        for part, cell in zip([self.lite.stem, *self.lite.blocks], self._cells, strict=True):
            x = part(x)
            levels.append(F.avg_pool2d(x, cell) if cell > 1 else x)
        return torch.cat(levels, 1)
