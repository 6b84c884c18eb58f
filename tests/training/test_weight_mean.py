from __future__ import annotations

import torch
from torch import nn

from training.weight_mean import WeightMean


def test_the_mean_follows_the_weights_and_gives_them_back() -> None:
    model = nn.BatchNorm1d(1)
    mean = WeightMean(model, 0.75)
    for value in (5.0, 9.0):
        model.weight.data.fill_(value)
        assert model.num_batches_tracked is not None
        model.num_batches_tracked.add_(1)
        mean.update(model)
    expected = (1 * 0.75 + 5 * 0.25) * 0.75 + 9 * 0.25
    with mean.in_place_of(model):
        assert model.weight.item() == expected
        assert int(model.state_dict()["num_batches_tracked"]) == 2
    assert model.weight.item() == 9
    again = WeightMean(model, 0.75)
    again.load_state_dict({k: v.clone() for k, v in mean.state_dict().items()})
    assert torch.equal(again.state_dict()["weight"], torch.tensor([expected]))
