"""What every folded model is, whatever its architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.convolution import fixed_conv
from training.models import PatchModel
from training.models.pooling import Pooling


class Folded(nn.Module):
    """Pixels, a trunk of convolutions, the head and the pooling; the contract of a model file."""

    def __init__(
        self, pixels: nn.Module, trunk: nn.Module, head: nn.Module, pooling: Pooling
    ) -> None:
        super().__init__()
        self.pixels = pixels
        self.trunk = trunk
        self.head = head
        self.pooling = pooling

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames uint8 [N, H, W, 3] BGR → logit float32 [N], patch logits float32 [N, h, w]."""
        # TensorRT takes uint8 into a Cast alone, so that the cast comes before all else.
        x = frames.to(torch.float32).permute(0, 3, 1, 2)
        patches = self.head(self.trunk(self.pixels(x))).squeeze(1)
        return self.pooling(patches), patches


def folded_head(model: PatchModel, inputs: int) -> nn.Conv2d:
    """The linear head as a 1×1 convolution on `inputs` channels; those it does not know weigh 0."""
    weight = model.fc.weight[:, :, None, None]
    return fixed_conv(grown(weight, 1, inputs), model.fc.bias)


def grown(x: Tensor, axis: int, size: int) -> Tensor:
    """x with zeros appended along an axis up to a size."""
    shape = list(x.shape)
    shape[axis] = size - shape[axis]
    return torch.cat([x, x.new_zeros(shape)], axis)
