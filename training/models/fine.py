"""Small trunks on high-pass residuals: they see traces of a few pixels, and little else."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from training.models.composed import Trunk
from training.models.initialise import he_initialise
from training.models.layers import Border, ConvNorm, grid_of
from training.models.residuals import Residuals


@dataclass(frozen=True, slots=True)
class FineSettings:
    """What a fine trunk is made of.

    Attributes:
        banks: of fixed kernels, keys of `training.models.residuals.BANKS`.
        side: of all residual kernels, 3 or 5.
        learned: how many residual kernels are learned.
        layers: kernel, channels and stride of each convolution; the first has kernel 3 and
            stride 2.
        limit: residuals are cut off at so many grey levels; None for no limit.
    """

    banks: tuple[str, ...]
    side: int
    learned: int
    layers: tuple[tuple[int, int, int], ...]
    limit: float | None = 16.0


FINE = {
    "fine_s": FineSettings(("second", "square3"), 3, 1, ((3, 16, 2), (3, 16, 1), (1, 16, 1))),
    "fine_m": FineSettings(("second", "square5"), 5, 1, ((3, 32, 2), (3, 48, 2), (3, 48, 1))),
    "fine_l": FineSettings(
        ("second", "square5"),
        5,
        17,
        ((3, 48, 2), (3, 64, 1), (3, 64, 2), (3, 64, 1), (3, 64, 1)),
    ),
}
"""About 5 thousand, 40 thousand and 150 thousand weights. Every map has a multiple of 16 channels,
the block that runtimes work on."""


class FineTrunk(Trunk):
    """Residuals and a few small convolutions.

    Args:
        settings: what it is made of.
        bordered: give residual maps a border of zeros, so that the map has ⌊H / stride⌋ rows;
            otherwise each patch lies whole on the picture.
    """

    def __init__(self, settings: FineSettings, bordered: bool = False) -> None:
        super().__init__()
        self.bordered = bordered
        self.residuals = Residuals(settings.banks, settings.side, settings.learned, settings.limit)
        layers: list[ConvNorm] = []
        self.channels = self.residuals.channels
        for kernel, outputs, stride in settings.layers:
            border = _border(kernel, first=not layers) if bordered else (0, 0)
            layers.append(_layer(self.channels, outputs, kernel, stride, border))
            self.channels = outputs
        self.layers = nn.Sequential(*layers)
        self.grid = grid_of([self.residuals.step, *(layer.step for layer in layers)])
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Levels [N, 3, H, W] → [N, channels, h, w]."""
        out: Tensor = self.layers(self.residuals(x))
        return out


def _layer(inputs: int, outputs: int, kernel: int, stride: int, border: Border) -> ConvNorm:
    activation = nn.ReLU(inplace=True)
    return ConvNorm(inputs, outputs, kernel, stride=stride, border=border, activation=activation)


def _border(kernel: int, first: bool) -> Border:
    """The first layer also makes up for the edge that residuals lack."""
    return (2, 1) if first else (kernel // 2, kernel // 2)
