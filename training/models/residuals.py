"""High-pass residuals: what a neighbourhood does not predict of a pixel.

Fixed kernels follow Fridrich & Kodovský, Rich Models for Steganalysis of Digital Images, 2012;
learned ones keep a sum of zero as in Bayar & Stamm, 2018, though without a fixed centre. Cutting
large residuals off follows Ye et al., Deep Learning Hierarchical Representations for Image
Steganalysis, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.layers import SCALE, Step

Kernel = tuple[tuple[float, ...], ...]

_SQUARE3: Kernel = ((-1, 2, -1), (2, -4, 2), (-1, 2, -1))
_SQUARE5: Kernel = (
    (-1, 2, -2, 2, -1),
    (2, -6, 8, -6, 2),
    (-2, 8, -12, 8, -2),
    (2, -6, 8, -6, 2),
    (-1, 2, -2, 2, -1),
)
BANKS: dict[str, tuple[tuple[float, Kernel], ...]] = {
    "first": (
        (1, ((0, 0, 0), (0, -1, 1), (0, 0, 0))),
        (1, ((0, 0, 0), (0, -1, 0), (0, 1, 0))),
        (1, ((0, 0, 0), (0, -1, 0), (0, 0, 1))),
        (1, ((0, 0, 0), (0, -1, 0), (1, 0, 0))),
    ),
    "second": (
        (2, ((0, 0, 0), (1, -2, 1), (0, 0, 0))),
        (2, ((0, 1, 0), (0, -2, 0), (0, 1, 0))),
        (2, ((1, 0, 0), (0, -2, 0), (0, 0, 1))),
        (2, ((0, 0, 1), (0, -2, 0), (1, 0, 0))),
    ),
    "square3": ((4, _SQUARE3),),
    "square5": ((12, _SQUARE5),),
}
"""Name → kernels with what they are divided by, the weight of the pixel itself. First differences
are to the next pixel in four directions; second ones to the mean of two opposite neighbours."""

GAIN = 0.25
"""A residual leaves as grey levels times this."""


class Residuals(nn.Module):
    """Residuals of each colour by fixed kernels, and of all three together by learned ones.

    Args:
        banks: keys of `BANKS`.
        side: of all kernels, 3 or 5; smaller ones lie in the middle.
        learned: how many kernels are learned.
        limit: residuals of more grey levels than this are cut off; None for no limit.

    Attributes:
        channels: 3 for each fixed kernel, 1 for each learned one.
    """

    fixed: Tensor

    def __init__(
        self, banks: Sequence[str], side: int, learned: int = 0, limit: float | None = None
    ) -> None:
        super().__init__()
        kernels = [_kernel(*entry, side) for bank in banks for entry in BANKS[bank]]
        # Not persistent: a constant is no weight.
        self.register_buffer("fixed", _on_each_colour(kernels, side), persistent=False)
        self.free = nn.Parameter(0.5 * torch.randn(learned, 3, side, side)) if learned else None
        self.truncation: nn.Module = (
            nn.Hardtanh(-GAIN * limit, GAIN * limit) if limit is not None else nn.Identity()
        )
        self.channels = 3 * len(kernels) + learned
        self.step = Step(side)

    def weight(self) -> Tensor:
        """All kernels on levels, [channels, 3, side, side]; every one sums to zero per colour."""
        kernels = self.fixed
        if self.free is not None:
            free = self.free - self.free.mean((2, 3), keepdim=True)
            kernels = torch.cat([kernels, free.to(kernels.dtype)])
        return kernels * (GAIN * SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """Levels [N, 3, H, W] → [N, channels, H − side + 1, W − side + 1]."""
        out: Tensor = self.truncation(F.conv2d(x, self.weight()))
        return out


def _kernel(divisor: float, kernel: Kernel, side: int) -> Tensor:
    margin = (side - len(kernel)) // 2
    return F.pad(torch.tensor(kernel), (margin,) * 4) / divisor


def _on_each_colour(kernels: Sequence[Tensor], side: int) -> Tensor:
    """[3·kernels, 3, side, side]: the first kernel on red, on green, on blue, then the next."""
    colours = torch.eye(3)[:, :, None, None]
    return torch.cat([torch.zeros(0, 3, side, side), *(colours * kernel for kernel in kernels)])
