"""A patch model whose trunk is composed of `training.models.layers` alone."""

from __future__ import annotations

from torch import Tensor, nn

from edge.errors import UsageError
from edge.manifest import PatchGrid
from training.models.layers import Levels
from training.models.patch_model import PatchModel
from training.models.pooling import Pooling


class Trunk(nn.Module):
    """From levels, float32 [N, 3, H, W], to features, [N, channels, h, w].

    Made of `ConvNorm` and `Residuals` wherever weights are folded; export replaces those and
    runs its `forward` as it stands.

    Attributes:
        channels: of the features.
        grid: where each patch lies on the levels.
        bordered: whether convolutions see zeros around the picture.
    """

    channels: int
    grid: PatchGrid
    bordered: bool


class ComposedModel(PatchModel):
    """A trunk on levels, with the head and the pooling of every patch model.

    Args:
        architecture: its name in `ARCHITECTURES`.
        preprocessing: its name in `PREPROCESSINGS`.
        trunk: the network.
        pooling: of the patch logits.

    Raises:
        UsageError: a preprocessing that the trunk does not take.
    """

    def __init__(
        self, architecture: str, preprocessing: str, trunk: Trunk, pooling: Pooling
    ) -> None:
        if trunk.bordered and preprocessing == "NPR":
            # NPR works on blocks of 2×2, and no graph without shapes cuts an odd edge off again.
            raise UsageError(
                f"{architecture} takes preprocessing raw or a gradient, found NPR. Choose raw."
            )
        super().__init__(
            architecture,
            preprocessing,
            receptive_field=trunk.grid.receptive_field,
            stride=trunk.grid.stride,
            channels=trunk.channels,
            offset=trunk.grid.offset,
            pooling=pooling,
        )
        self.levels = Levels(preprocessing)
        self.trunk = trunk

    def features(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, channels, h, w]."""
        out: Tensor = self.trunk(self.levels(x))
        return out
