"""First weights of a model."""

from __future__ import annotations

import math

from torch import nn


def he_initialise(model: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k·k·out / groups)); batch norms start as the identity.

    He et al., Delving Deep into Rectifiers, 2015, in the fan-out form.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
