"""The first two convolutions of the published architectures as one."""

from __future__ import annotations

import torch
from torch import Tensor

from export.convolution import fold_batch_norm
from training.models.ladeda import LaDeDa
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from training.models.tiny_ladeda import TinyLaDeDa


def folded_stem(model: TinyLaDeDa | LaDeDa) -> tuple[Tensor, Tensor]:
    """conv1, conv2, bn1, 1/255 and 1/std as one 3×3 kernel on BGR grey levels, and its bias."""
    first, second = model.conv1.weight.double(), model.conv2.weight.double()
    weight = torch.einsum("omyx,mc->ocyx", second, first[:, :, 0, 0])
    weight, bias = fold_batch_norm(weight, model.bn1)
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    if model.preprocessing == "raw":
        bias = bias - torch.einsum("ocyx,c->o", weight, mean / std)
    weight = weight / (255 * std)[:, None, None]
    return weight.flip(1), bias
