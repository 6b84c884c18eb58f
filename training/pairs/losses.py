"""What an autoencoder is trained with: near in pixels, in bands, in local energy, and to a critic.

The last two keep the high frequencies' energy, which a mean error alone takes away: a detector of
soft pictures would find nothing else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS, ENERGY_LEVELS = 3, 2
BANDS_WEIGHT, ENERGY_WEIGHT = 1.0, 3.0
DETAIL_SCALE = 8.0
"""Brings details to the size that the critic's first weights are made for."""

_FLOOR = 1e-12


class Critic(nn.Module):
    """A small patch discriminator: [N, 3, H, W] in 0..1 → evidence of a photograph, [N, 1, h, w].

    As in Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017),
    with fewer layers and no norm.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width * 2, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width * 2, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Judge overlapping patches of 18×18 pixels by what their neighbourhood does not tell.

        Seeing colours, it would pull these about, which costs PSNR and sharpens nothing.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        around = F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
        out: Tensor = self.layers((x - around) * DETAIL_SCALE)
        return out


def reconstruction_loss(x: Tensor, again: Tensor) -> Tensor:
    """Mean absolute error of the pixels, of three Laplacian bands, and of local energy; a scalar.

    Args:
        x: photographs, [N, 3, H, W] in 0..1; H and W at least 32 and multiples of 4.
        again: their reconstructions.
    """
    loss = F.l1_loss(again, x)
    for level in range(LEVELS):
        half, half_again = F.avg_pool2d(x, 2), F.avg_pool2d(again, 2)
        band, band_again = x - _doubled(half), again - _doubled(half_again)
        loss = loss + BANDS_WEIGHT * F.l1_loss(band_again, band)
        if level < ENERGY_LEVELS:
            loss = loss + ENERGY_WEIGHT * F.l1_loss(_energy(again), _energy(x))
        x, again = half, half_again
    return loss


def critic_loss(critic: Critic, x: Tensor, again: Tensor) -> Tensor:
    """Hinge loss of the critic itself, a scalar (Lim and Ye, "Geometric GAN", 2017)."""
    return F.relu(1 - critic(x)).mean() + F.relu(1 + critic(again.detach())).mean()


def gradients(
    x: Tensor, again: Tensor, critic: Critic | None, share: float
) -> tuple[Tensor, Tensor]:
    """The reconstruction loss, and what to send back through the autoencoder.

    The critic's gradient is scaled to a share of the reconstruction's norm, so that no weight has
    to be found for each network (as in Esser et al., "Taming Transformers", 2021, equation 7, but
    at the picture rather than at the last layer).

    Args:
        x: photographs, [N, 3, H, W].
        again: their reconstructions, within a graph.
        critic: None before it takes part.
        share: of its gradient.

    Returns:
        The loss, a scalar without a graph, and the gradient at `again`, [N, 3, H, W].
    """
    leaf = again.detach().requires_grad_()
    loss = reconstruction_loss(x, leaf)
    (gradient,) = torch.autograd.grad(loss, leaf)
    if critic is not None:
        (pull,) = torch.autograd.grad(-critic(leaf).mean(), leaf)
        gradient = gradient + pull * (share * gradient.norm() / (pull.norm() + _FLOOR))
    return loss.detach(), gradient


def _doubled(half: Tensor) -> Tensor:
    return F.interpolate(half, scale_factor=2.0, mode="nearest")


def _energy(x: Tensor) -> Tensor:
    """Mean size of the three details of a Haar transform in 8×8 pixels, at every fourth.

    Of the size alone: the reconstruction may place them otherwise, but not leave them out.
    """
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    rows, columns = across[..., 1:, :] + across[..., :-1, :], down[..., 1:] + down[..., :-1]
    both = across[..., 1:, :] - across[..., :-1, :]
    return F.avg_pool2d(torch.cat((rows, columns, both), 1).abs() / 2, 8, stride=4)
