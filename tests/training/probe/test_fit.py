from __future__ import annotations

import numpy as np
import pytest
import torch

from training.models import build
from training.probe.fit import Head, Samples, fit_head


def _samples(direction: list[float], count: int = 400, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.float32)
    noise = rng.normal(0, 1, (count, len(direction)))
    return Samples((noise + np.outer(labels - 0.5, direction)).astype(np.float32), labels)


def test_the_head_finds_the_direction_that_separates_whatever_its_scale() -> None:
    samples = _samples([3.0, 0.0])
    stretched = Samples(samples.features * np.float32([1000, 0.01]), samples.labels)
    head = fit_head(stretched, None, 0.0, 1.0)
    logits = head.logits(stretched.features)
    assert ((logits > 0) == (stretched.labels > 0)).mean() > 0.9
    assert abs(head.weight[0] * 1000) > 5 * abs(head.weight[1] * 0.01)


def test_pairs_turn_the_head_as_far_as_their_share() -> None:
    labelled, pairs = _samples([2.0, 0.0]), _samples([0.0, 2.0], count=100, seed=1)
    weights = [fit_head(labelled, pairs, share, 1.0).weight for share in (0.0, 0.2, 0.8)]
    ratios = [weight[1] / weight[0] for weight in weights]
    assert ratios[0] < 0.3 < ratios[1] < 1 < ratios[2]
    alone = fit_head(None, pairs, 0.0, 1.0).weight
    assert alone[1] > 3 * abs(alone[0])


def test_a_share_of_nothing_is_a_fit_without_pairs() -> None:
    labelled, pairs = _samples([2.0, 0.0]), _samples([0.0, 2.0], seed=1)
    with_pairs, without = fit_head(labelled, pairs, 0.0, 1.0), fit_head(labelled, None, 0.3, 1.0)
    np.testing.assert_array_equal(with_pairs.weight, without.weight)


def test_a_model_with_the_head_gives_its_logits() -> None:
    model = build("fine_s", "raw").eval()
    pixels = torch.randn(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        means = model.features(model.preprocess(pixels)).mean((2, 3)).numpy()
        head = Head(np.random.default_rng(0).normal(size=means.shape[1]), -0.25)
        head.put_into(model)
        assert model(pixels).tolist() == pytest.approx(head.logits(means).tolist(), abs=1e-4)
