"""Two experts add up exactly, and the gate weighs one of them."""

from __future__ import annotations

import pytest
import torch

from edge.errors import ModelError
from training.models import build
from training.models.composed import ComposedModel
from training.models.experts import FINE_EXPERT, join

SIZE = (96, 113)


def built(architecture: str) -> ComposedModel:
    torch.manual_seed(4)
    model = build(architecture, "raw").eval()
    assert isinstance(model, ComposedModel)
    return model


@pytest.mark.parametrize("architecture", ["experts", "gated_experts"])
def test_joined_experts_are_the_sum_of_both(architecture: str) -> None:
    model, coarse, fine = built(architecture), built("lite0_s16"), built(FINE_EXPERT)
    join(model, coarse, fine)
    x = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        both, alone, details = (each.patch_logits(x)[0] for each in (model, coarse, fine))
        # Cell (1, 2) covers rows 16 to 32; its fine patches begin four pixels before.
        cell = details[6:14, 14:22].mean()
        logit = model(x)[0]
    torch.testing.assert_close(both[1, 2], alone[1, 2] + cell, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logit, both.mean(), rtol=1e-4, atol=1e-4)
    assert both.shape == alone.shape == (6, 7)


def test_a_shut_gate_leaves_the_coarse_expert_alone() -> None:
    model, coarse = built("gated_experts"), built("lite0_s16")
    join(model, coarse, built(FINE_EXPERT))
    x = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        model.state_dict()["trunk.gate.bias"].fill_(-50)
        model.fc.bias.copy_(coarse.fc.bias)
        torch.testing.assert_close(model(x), coarse(x), rtol=1e-4, atol=1e-5)


def test_models_of_another_make_do_not_join() -> None:
    with pytest.raises(ModelError, match="fine_m does not fit the expert"):
        join(built("experts"), built("lite0_s16"), built("fine_m"))
    with pytest.raises(ModelError, match="lite0_s16 has no experts"):
        join(built("lite0_s16"), built("lite0_s16"), built("fine_s"))
