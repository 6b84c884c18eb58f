"""A model folded into as few operations as give the same numbers.

What is exact algebra is done once, in float64, on the weights:

- where two convolutions have nothing between them (the stem of LaDeDa), they become one;
- batch norms, 1/255, 1/std and the order of the colours go into the convolutions;
- for `raw` the mean goes into a bias; for NPR it drops out of the difference; for the gradients
  it is subtracted first, as their border of zeros means "the mean", not "black";
- differences are taken on whole grey levels, before any scale: they stay exact in half precision;
- the linear head becomes a 1×1 convolution.

Tiny-LaDeDa is also packed (`export.tiny`). ResNet-18 has two classes, and their difference leaves
as one logit (`export.resnet18`). Every architecture made of `training.models.layers` folds layer by
layer (`export.composed`), and needs no code of its own here.
"""

from __future__ import annotations

import torch
from torch import nn

from edge.errors import ModelError
from export.composed import fold_composed
from export.ladeda import fold_ladeda
from export.resnet18 import fold_resnet18
from export.tiny import fold_tiny
from training.models import AnyModel, ResNet18
from training.models.composed import ComposedModel
from training.models.ladeda import LaDeDa
from training.models.tiny_ladeda import TinyLaDeDa


def folded_module(model: AnyModel) -> nn.Module:
    """Fold a model, preprocessing included.

    Args:
        model: its batch norms' running figures are used, as in evaluation mode; left unchanged.

    Returns:
        A module from `frames` (uint8 [N, H, W, 3] BGR) to (`logit` float32 [N], `patch_logits`
        float32 [N, h, w]); of a ResNet-18 to `logit` alone.

    Raises:
        ModelError: an architecture that this cannot fold.
    """
    with torch.no_grad():
        if isinstance(model, TinyLaDeDa):
            return fold_tiny(model).eval()
        if isinstance(model, LaDeDa):
            return fold_ladeda(model).eval()
        if isinstance(model, ComposedModel):
            return fold_composed(model).eval()
        if isinstance(model, ResNet18):
            return fold_resnet18(model).eval()
    raise ModelError(
        f"{model.architecture} cannot be folded. Fold TinyLaDeDa, LaDeDa, a ComposedModel or "
        "ResNet18."
    )
