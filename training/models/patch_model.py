"""What all patch models share: preprocessing, the two heads and the place of each patch."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from edge.errors import RegionError
from edge.manifest import PatchGrid, Preprocessing
from training.models.pooling import Mean, Pooling
from training.models.preprocess import preprocessing_margin, preprocessing_module


class PatchModel(nn.Module):
    """A network that judges each patch of a picture alone, and the picture by pooling them.

    A subclass gives `features`; its layers carry the names of the published checkpoints.

    Args:
        architecture: its name in `ARCHITECTURES`.
        preprocessing: its name in `PREPROCESSINGS`.
        receptive_field: side of a patch in pixels of the preprocessed picture.
        stride: distance between neighbouring patches in pixels; even.
        channels: of the last feature map.
        offset: top and left edge of the first patch on the preprocessed picture; even.
        pooling: from patch logits to the logit; their mean if None.

    Attributes:
        grid: where each patch lies on the picture, preprocessing included.
        preprocess: [N, 3, H, W] → [N, 3, H, W]; has no weights.
        fc: from features to one logit.
        pooling: float [N, h, w] → float [N].
    """

    def __init__(
        self,
        architecture: str,
        preprocessing: str,
        receptive_field: int,
        stride: int,
        channels: int,
        offset: int = 0,
        pooling: Pooling | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.preprocess = preprocessing_module(preprocessing)
        self.preprocessing = cast(Preprocessing, preprocessing)
        margin = preprocessing_margin(preprocessing)
        self.grid = PatchGrid(
            receptive_field=receptive_field + 2 * margin, stride=stride, offset=offset - margin
        )
        self.fc = nn.Linear(channels, 1)
        self.pooling = pooling or Mean()

    def features(self, x: Tensor) -> Tensor:
        """Features of each patch, float32 [N, channels, h, w], of a preprocessed picture."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Evidence that each picture is fake.

        Args:
            x: float32 [N, 3, H, W], RGB, ImageNet-normalised; any H and W of a patch or more.

        Returns:
            float32 [N]; the patches pooled; above 0 leans fake.

        Raises:
            RegionError: the picture is smaller than one patch.
        """
        features = self._checked_features(x)
        if not isinstance(self.pooling, Mean):
            return self.pooled(self.map_head(features).squeeze(1))
        # The published networks pool in this way, and its rounding shows: their mean of large
        # features differs from an exact one by more than 1e-4.
        mean = F.avg_pool2d(features, features.shape[-2:]).flatten(1)
        logit: Tensor = self.fc(mean)
        return logit.squeeze(1)

    def patch_logits(self, x: Tensor) -> Tensor:
        """Evidence per patch: float32 [N, h, w]; input and errors as of `forward`."""
        return self.map_head(self._checked_features(x)).squeeze(1)

    def pooled(self, patches: Tensor) -> Tensor:
        """The logit of each picture from its patch logits: float [N, h, w] → float [N]."""
        logit: Tensor = self.pooling(patches)
        return logit

    def map_head(self, features: Tensor) -> Tensor:
        """The linear head at every place: [N, channels, h, w] → [N, 1, h, w]."""
        return F.conv2d(features, self.fc.weight[:, :, None, None], self.fc.bias)

    def _checked_features(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        least = self.grid.smallest_input()
        if min(height, width) < least:
            raise RegionError(
                f"{self.architecture} needs a picture of at least {least}×{least} pixels; found "
                f"{height}×{width} (height × width). Use a larger picture or region."
            )
        return self.features(self.preprocess(x))
