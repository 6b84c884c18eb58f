"""A coarse and a fine expert that judge the same patches together.

The head is linear and features are pooled linearly, so that a patch logit is exactly that of the
coarse expert plus the mean of the fine expert's within a cell of the coarse map. The fine
expert's traces do not outlive compression; a gate lets the coarse expert say how much they count.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge.errors import ModelError
from training.models.composed import ComposedModel, Trunk
from training.models.fine import FINE, FineTrunk
from training.models.lite import LiteTrunk

COARSE_STRIDE = 16
FINE_EXPERT = "fine_s"


class ExpertsTrunk(Trunk):
    """Features of both experts, side by side at the places of the coarse map.

    Args:
        gated: weigh the fine features at each place by a number in 0..1, which a 1×1
            convolution reads off the coarse features; at first one half.
    """

    bordered = True

    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.coarse = LiteTrunk(COARSE_STRIDE)
        self.fine = FineTrunk(FINE[FINE_EXPERT], bordered=True)
        self.cell = COARSE_STRIDE // self.fine.grid.stride
        self.gate = nn.Conv2d(self.coarse.channels, 1, 1) if gated else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)  # type: ignore[arg-type]  # a convolution has one
        self.channels = self.coarse.channels + self.fine.channels
        # What the fine expert sees lies within what the coarse one sees.
        self.grid = self.coarse.grid

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, channels, ⌊H / 16⌋, ⌊W / 16⌋]."""
        coarse = self.coarse(x)
        fine = F.avg_pool2d(self.fine(x), self.cell)
        if self.gate is not None:
            fine = torch.sigmoid(self.gate(coarse)) * fine
        return torch.cat([coarse, fine], 1)


def join(model: ComposedModel, coarse: ComposedModel, fine: ComposedModel) -> None:
    """Give both experts of a model their weights from models that were trained alone.

    A patch logit of `model` is then the coarse model's plus the mean of the fine model's, as far
    as the picture's edges are away.

    Args:
        model: with a trunk of experts; changed.
        coarse: of the architecture of its coarse expert.
        fine: of the architecture of its fine expert.

    Raises:
        ModelError: a model of another architecture.
    """
    trunk = model.trunk
    if not isinstance(trunk, ExpertsTrunk):
        raise ModelError(f"{model.architecture} has no experts. Expected experts or gated_experts.")
    for part, given in ((trunk.coarse, coarse), (trunk.fine, fine)):
        _copy(part, given)
    # An untrained gate lets half of the fine expert through.
    share = 1.0 if trunk.gate is None else 2.0
    with torch.no_grad():
        model.fc.weight.copy_(torch.cat([coarse.fc.weight, share * fine.fc.weight], 1))
        model.fc.bias.copy_(coarse.fc.bias + fine.fc.bias)


def _copy(part: Trunk, given: ComposedModel) -> None:
    try:
        part.load_state_dict(given.trunk.state_dict())
    except RuntimeError as error:
        raise ModelError(
            f"{given.architecture} does not fit the expert. Expected lite0_s{COARSE_STRIDE} as the "
            f"coarse one and {FINE_EXPERT} as the fine one."
        ) from error
