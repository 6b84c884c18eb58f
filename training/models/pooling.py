"""From the map of patch logits to the logit of the picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """float [N, h, w] → float [N].

    Attributes:
        needs_fixed_size: whether its graph is right for one size of the map alone.
    """

    needs_fixed_size = False

    def forward(self, patches: Tensor) -> Tensor:
        """Pool the patch logits of each picture."""
        raise NotImplementedError


def map_mean(patches: Tensor) -> Tensor:
    """The mean over a map; [N, h, w] → [N]."""
    # In two steps: one long float32 sum over a 1080p map is off by more than parity allows.
    return patches.mean(2).mean(1)


class Mean(Pooling):
    """Every patch counts alike."""

    def forward(self, patches: Tensor) -> Tensor:
        """Pool the patch logits of each picture."""
        return map_mean(patches)


class TopShare(Pooling):
    """The mean of the highest patch logits.

    Args:
        share: of the patches that count, 0 (exclusive) to 1; at least one patch does.
    """

    needs_fixed_size = True

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, patches: Tensor) -> Tensor:
        """Pool the patch logits of each picture."""
        flat = patches.flatten(1)
        return flat.topk(max(1, math.ceil(self.share * flat.shape[1])), 1).values.mean(1)


class MeanAndDeviation(Pooling):
    """The mean plus a learned weight times the mean absolute deviation; first weight 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, patches: Tensor) -> Tensor:
        """Pool the patch logits of each picture."""
        mean = map_mean(patches)
        # What lies above the mean is as much as what lies below: E|d| = 2·E[max(d, 0)], which
        # needs no operator that old parsers lack.
        above = torch.relu(patches - mean[:, None, None])
        return mean + 2 * self.weight * map_mean(above)


POOLINGS: dict[str, Callable[[], Pooling]] = {
    "": Mean,
    "_top10": partial(TopShare, 0.1),
    "_deviation": MeanAndDeviation,
}
"""What the name of an architecture ends in → its pooling."""
