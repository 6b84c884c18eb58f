"""From a map to a logit in three ways."""

from __future__ import annotations

import torch

from training.models import build
from training.models.pooling import Mean, MeanAndDeviation, TopShare

MAP = torch.arange(20.0).reshape(1, 4, 5)


def test_the_mean_of_the_map() -> None:
    assert Mean()(MAP).item() == 9.5


def test_the_mean_of_the_highest_share() -> None:
    assert TopShare(0.1)(MAP).item() == 18.5
    assert TopShare(0.01)(MAP).item() == 19.0
    assert TopShare(1.0)(MAP).item() == 9.5


def test_the_deviation_starts_at_nothing_and_is_the_mean_absolute_one() -> None:
    pooling = MeanAndDeviation()
    assert pooling(MAP).item() == 9.5
    with torch.no_grad():
        pooling.weight.fill_(1)
        torch.testing.assert_close(pooling(MAP) - 9.5, (MAP - 9.5).abs().mean()[None])


def test_a_model_pools_as_its_name_ends() -> None:
    x = torch.randn(2, 3, 48, 64)
    for name, pooling in (("_top10", TopShare), ("_deviation", MeanAndDeviation)):
        model = build(f"fine_s{name}", "raw").eval()
        assert isinstance(model.pooling, pooling)
        with torch.no_grad():
            torch.testing.assert_close(model(x), model.pooling(model.patch_logits(x)))
    assert "pooling.weight" in model.state_dict()
