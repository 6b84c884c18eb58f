"""What every network here is: the base of all, and the base of those that judge patches."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from edge.errors import RegionError
from edge.manifest import PatchGrid, Preprocessing
from training.models.preprocess import preprocessing_margin, preprocessing_module


class Model(nn.Module):
    """A network from a picture to evidence, and what export must know of it.

    A subclass gives `forward`, and where it has a rule for being folded it registers one in
    `export.fold`; without a rule it is exported as it stands.

    Args:
        architecture: its name, as `build_any` takes it.
        preprocessing: its name in `PREPROCESSINGS`.
        smallest_input: height and width in pixels of the smallest picture that it is of use for.
        grid: where each patch lies on the picture; None for a network without a patch map.
        fixed_input: the only height and width that it takes; None for any.
    """

    def __init__(
        self,
        architecture: str,
        preprocessing: str,
        smallest_input: int,
        grid: PatchGrid | None = None,
        fixed_input: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.preprocess = preprocessing_module(preprocessing)
        self.preprocessing = cast(Preprocessing, preprocessing)
        self.smallest_input = smallest_input
        self.grid = grid
        self.fixed_input = fixed_input

    def forward(self, x: Tensor) -> Tensor:
        """Evidence that each picture is fake.

        Args:
            x: float32 [N, 3, H, W], RGB, ImageNet-normalised.

        Returns:
            float32 [N]; above 0 leans fake.
        """
        raise NotImplementedError

    def evidence(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logits [N], and with a grid the patch logits [N, h, w]; sizes are not checked."""
        return self(x), None

    @staticmethod
    def pooled(patches: Tensor) -> Tensor:
        """The logit of each picture from its patch logits, their mean: [N, h, w] → [N]."""
        # In two steps: one long float32 sum over a 1080p map is off by more than parity allows.
        return patches.mean(2).mean(1)


class PatchModel(Model):
    """A network that judges each patch of a picture alone, and the picture by their mean.

    A subclass gives `features`; its layers carry the names of the published checkpoints.

    Args:
        architecture: its name in `ARCHITECTURES`.
        preprocessing: its name in `PREPROCESSINGS`.
        receptive_field: side of a patch in pixels of the preprocessed picture.
        stride: distance between neighbouring patches in pixels; even.
        channels: of the last feature map.
        offset: top and left edge of the first patch on the preprocessed picture; even.

    Attributes:
        preprocess: [N, 3, H, W] → [N, 3, H, W]; has no weights.
        fc: from features to one logit.
    """

    grid: PatchGrid

    def __init__(
        self,
        architecture: str,
        preprocessing: str,
        receptive_field: int,
        stride: int,
        channels: int,
        offset: int = 0,
    ) -> None:
        margin = preprocessing_margin(preprocessing)
        grid = PatchGrid(
            receptive_field=receptive_field + 2 * margin, stride=stride, offset=offset - margin
        )
        super().__init__(architecture, preprocessing, grid.smallest_input(), grid)
        self.fc = nn.Linear(channels, 1)

    def features(self, x: Tensor) -> Tensor:
        """Features of each patch, float32 [N, channels, h, w], of a preprocessed picture."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """As of `Model`.

        Raises:
            RegionError: the picture is smaller than one patch.
        """
        features = self._checked_features(x)
        # The published networks pool in this way, and its rounding shows: their mean of large
        # features differs from an exact one by more than 1e-4.
        mean = F.avg_pool2d(features, features.shape[-2:]).flatten(1)
        logit: Tensor = self.fc(mean)
        return logit.squeeze(1)

    def patch_logits(self, x: Tensor) -> Tensor:
        """Evidence per patch: float32 [N, h, w]; input and errors as of `forward`."""
        return self.map_head(self._checked_features(x)).squeeze(1)

    def evidence(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The pooled patch logits [N], and the patch logits [N, h, w]; sizes are not checked."""
        patches = self.map_head(self.features(self.preprocess(x))).squeeze(1)
        return self.pooled(patches), patches

    def map_head(self, features: Tensor) -> Tensor:
        """The linear head at every place: [N, channels, h, w] → [N, 1, h, w]."""
        return F.conv2d(features, self.fc.weight[:, :, None, None], self.fc.bias)

    def _checked_features(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        least = self.smallest_input
        if min(height, width) < least:
            raise RegionError(
                f"{self.architecture} needs a picture of at least {least}×{least} pixels; found "
                f"{height}×{width} (height × width). Use a larger picture or region."
            )
        return self.features(self.preprocess(x))


def he_initialise(model: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k·k·out / groups)); batch norms start as the identity.

    He et al., Delving Deep into Rectifiers, 2015, in the fan-out form.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
