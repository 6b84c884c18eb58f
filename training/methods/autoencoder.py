"""Training of a small autoencoder on photographs, whose reconstructions become aligned fakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edge.types import Image
from training.methods.base import Batch, Figures, Method
from training.pairs.autoencoders import Autoencoder, AutoencoderSpec, quality, reconstruct
from training.settings import LoopSettings

LEVELS, ENERGY_LEVELS = 3, 2
ENERGY_WEIGHT = 3.0


class AutoencoderTraining(Method):
    """Reconstruction near in pixels, bands and local energy.

    Args:
        spec: of the autoencoder.
        settings: of the training.
        held_out: photographs to judge on, uint8 [H, W, 3] BGR; sides are multiples of the factor.
    """

    model: Autoencoder

    def __init__(
        self, spec: AutoencoderSpec, settings: LoopSettings, held_out: Sequence[Image]
    ) -> None:
        super().__init__(Autoencoder(spec), settings)
        self._held_out = held_out

    def loss(self, batch: Batch) -> Tensor:
        """See `reconstruction_loss`."""
        x = batch["frames"].movedim(-1, 1) / 255.0
        return reconstruction_loss(x, self.model(x))

    def validation_items(self, rank: int, processes: int) -> Iterable[int]:
        """Places of the held-out photographs."""
        return range(rank, len(self._held_out), processes)

    def judge(self, item: int) -> Mapping[int, Sequence[float]]:
        """PSNR in dB and high-frequency ratio of one reconstruction."""
        picture = self._held_out[item]
        return {item: quality(picture, reconstruct(self.model, picture))}

    def measured(self, logits: npt.NDArray[np.float64]) -> tuple[float, Figures]:
        """Mean PSNR, and the median of the high-frequency ratios."""
        return float(logits[:, 0].mean()), {"high frequencies": float(np.median(logits[:, 1]))}

    def save(self, path: Path) -> None:
        """The last weights are kept, not the best."""


def reconstruction_loss(x: Tensor, again: Tensor) -> Tensor:
    """Mean absolute error of the pixels, of three Laplacian bands, and of local energy; a scalar.

    The last keeps the high frequencies, which a mean error alone takes away: a detector of soft
    pictures would find nothing else.

    Args:
        x: photographs, [N, 3, H, W] in 0..1; H and W at least 32 and multiples of 4.
        again: their reconstructions.
    """
    loss = F.l1_loss(again, x)
    for level in range(LEVELS):
        half, half_again = F.avg_pool2d(x, 2), F.avg_pool2d(again, 2)
        band, band_again = (
            a - F.interpolate(b, scale_factor=2.0, mode="nearest")
            for a, b in ((x, half), (again, half_again))
        )
        loss = loss + F.l1_loss(band_again, band)
        if level < ENERGY_LEVELS:
            loss = loss + ENERGY_WEIGHT * F.l1_loss(_energy(again), _energy(x))
        x, again = half, half_again
    return loss


def _energy(x: Tensor) -> Tensor:
    """Mean size of the three details of a Haar transform in 8×8 pixels, at every fourth.

    Of the size alone: the reconstruction may place them otherwise, but not leave them out.
    """
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    rows, columns = across[..., 1:, :] + across[..., :-1, :], down[..., 1:] + down[..., :-1]
    both = across[..., 1:, :] - across[..., :-1, :]
    return F.avg_pool2d(torch.cat((rows, columns, both), 1).abs() / 2, 8, stride=4)
