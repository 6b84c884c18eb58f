"""A model behind the contract of a model file with nothing folded, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.models import AnyModel, PatchModel
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD


class Normalised(nn.Module):
    """From frames to what every model takes."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def normalised(self, frames: Tensor) -> Tensor:
        """Frames uint8 [N, H, W, 3] BGR → float32 [N, 3, H, W] RGB, ImageNet-normalised."""
        rgb = frames.to(torch.float32).permute(0, 3, 1, 2)[:, [2, 1, 0]]
        return (rgb / 255 - self.mean) / self.std


class Naive(Normalised):
    """Reorder, scale, normalise, preprocess and judge, one step after the other."""

    def __init__(self, model: PatchModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames uint8 [N, H, W, 3] BGR → logit float32 [N], patch logits float32 [N, h, w]."""
        x = self.model.preprocess(self.normalised(frames))
        patches = self.model.map_head(self.model.features(x)).squeeze(1)
        return self.model.pooled(patches), patches


class NaiveWhole(Normalised):
    """Reorder, scale, normalise and judge the picture whole."""

    def __init__(self, model: AnyModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        """Frames uint8 [N, H, W, 3] BGR → logit float32 [N]."""
        logit: Tensor = self.model(self.normalised(frames))
        return logit


def naive_module(model: PatchModel) -> Naive:
    """The unfolded counterpart of `export.fold.folded_module`, in evaluation mode.

    Its graph obeys the contract but not every rule of the lint; it is there to compare with.
    """
    naive = Naive(model)
    naive.eval()
    return naive
