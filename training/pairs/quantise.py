"""Vector quantisation of latents, with the running means and straight-through gradient of VQ-VAE.

van den Oord et al., "Neural Discrete Representation Learning" (2017), equations 2 and 3 and
appendix A.1; a latent is cut into groups with a codebook each (a product quantiser), as one
codebook for all of it would be far too coarse for a reconstruction above 30 dB.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 2
"""Numbers that share a code."""

CODES = 256
COMMITMENT = 0.25
DECAY = 0.98
_LEAST_USE = 0.5
"""Running count of uses in a step below which a code moves to a latent that is in use."""


class ProductQuantiser(nn.Module):
    """Replaces each group of a latent's channels by the nearest code of the group's codebook.

    Args:
        channels: of the latents, a multiple of `GROUP`.
    """

    codes: Tensor
    sums: Tensor
    counts: Tensor
    begun: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = channels // GROUP
        self.register_buffer("codes", torch.randn(groups, CODES, GROUP))
        self.register_buffer("sums", torch.zeros(groups, CODES, GROUP))
        self.register_buffer("counts", torch.zeros(groups, CODES))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, h, w] → codes in their places, [N, C, h, w], and the commitment loss, a scalar."""
        n, channels, h, w = latents.shape
        grouped = latents.permute(0, 2, 3, 1).reshape(n * h * w, -1, GROUP).transpose(0, 1)
        with torch.no_grad():
            if self.training:
                self._begin(grouped)
            chosen = self._nearest(grouped)
            if self.training:
                self._follow(grouped, chosen)
        found = self.codes.gather(1, chosen[..., None].expand(-1, -1, GROUP))
        commitment = COMMITMENT * F.mse_loss(grouped, found)
        passed = grouped + (found - grouped).detach()
        back = passed.transpose(0, 1).reshape(n, h, w, channels).permute(0, 3, 1, 2)
        return back, commitment

    def _nearest(self, grouped: Tensor) -> Tensor:
        # A latent's own square is the same for every code.
        squares = self.codes.square().sum(2)[:, None]
        return torch.baddbmm(squares, grouped, self.codes.transpose(1, 2), alpha=-2).argmin(2)

    def _begin(self, grouped: Tensor) -> None:
        if bool(self.begun):
            return
        self.codes.copy_(self._drawn(grouped))
        self.sums.copy_(self.codes)
        self.counts.fill_(1.0)
        self.begun.fill_(True)

    def _follow(self, grouped: Tensor, chosen: Tensor) -> None:
        uses = torch.zeros_like(self.counts).scatter_add_(
            1, chosen, torch.ones_like(grouped[..., 0])
        )
        places = chosen[..., None].expand(-1, -1, GROUP)
        self.counts.lerp_(uses, 1 - DECAY)
        self.sums.lerp_(torch.zeros_like(self.sums).scatter_add_(1, places, grouped), 1 - DECAY)
        unused = (self.counts < _LEAST_USE)[..., None]
        self.sums.copy_(torch.where(unused, self._drawn(grouped), self.sums))
        self.counts.clamp_(min=_LEAST_USE).masked_fill_(unused[..., 0], 1.0)
        self.codes.copy_(self.sums / self.counts[..., None])

    def _drawn(self, grouped: Tensor) -> Tensor:
        places = torch.randint(grouped.shape[1], (CODES,))
        return grouped[:, places]
