from __future__ import annotations

import numpy as np
import pytest
import torch

from edge.errors import UsageError
from training.models import build
from training.probe.fit import Head, HeadFit, Samples


def _samples(direction: list[float], count: int = 400, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.float32)
    noise = rng.normal(0, 1, (count, len(direction)))
    return Samples((noise + np.outer(labels - 0.5, direction)).astype(np.float32), labels)


def test_the_head_finds_the_direction_that_separates_whatever_its_scale() -> None:
    samples = _samples([3.0, 0.0])
    stretched = Samples(samples.features * np.array([1000, 0.01], np.float32), samples.labels)
    head = HeadFit(stretched, None).head(0.0, 1.0, 0.0)
    logits = head.logits(stretched.features)
    assert ((logits > 0) == (stretched.labels > 0)).mean() > 0.9
    assert abs(head.weight[0] * 1000) > 5 * abs(head.weight[1] * 0.01)


def test_pairs_turn_the_head_as_far_as_their_share() -> None:
    labelled, pairs = _samples([2.0, 0.0]), _samples([0.0, 2.0], count=100, seed=1)
    fit = HeadFit(labelled, pairs)
    weights = [fit.head(share, 1.0, 0.0).weight for share in (0.0, 0.2, 0.8)]
    ratios = [weight[1] / weight[0] for weight in weights]
    assert ratios[0] < 0.3 < ratios[1] < 1 < ratios[2]
    alone = HeadFit(None, pairs).head(0.0, 1.0, 0.0).weight
    assert alone[1] > 3 * abs(alone[0])


def test_a_share_of_nothing_is_a_fit_without_pairs() -> None:
    labelled, pairs = _samples([2.0, 0.0]), _samples([0.0, 2.0], seed=1)
    with_pairs = HeadFit(labelled, pairs).head(0.0, 1.0, 10.0)
    without = HeadFit(labelled, None).head(0.3, 1.0, 10.0)
    np.testing.assert_array_equal(with_pairs.weight, without.weight)


def test_a_model_with_the_head_gives_its_logits() -> None:
    model = build("fine_s", "raw").eval()
    pixels = torch.randn(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        means = model.features(model.preprocess(pixels)).mean((2, 3)).numpy()
        head = Head(np.random.default_rng(0).normal(0, 1, (means.shape[1],)), -0.25)
        head.put_into(model)
        assert model(pixels).tolist() == pytest.approx(head.logits(means).tolist(), abs=1e-4)


def test_whitening_turns_the_head_away_from_what_differs_within_a_class() -> None:
    # The first two features carry the same evidence; the second is drowned in content that the
    # third carries as well.
    rng = np.random.default_rng(0)
    labels = (np.arange(2000) % 2).astype(np.float32)
    content = rng.normal(0, 3, 2000)
    clean = labels + rng.normal(0, 1, 2000)
    features = np.stack([clean, labels + content + rng.normal(0, 0.5, 2000), content], 1)
    fit = HeadFit(Samples(features.astype(np.float32), labels), None)
    fisher = np.linalg.solve(
        sum(np.cov(features[labels == label].T) for label in (0, 1)),
        features[labels == 1].mean(0) - features[labels == 0].mean(0),
    )
    whitened = fit.head(0.0, 1e6, 1e6).weight
    assert np.dot(whitened, fisher) > 0.999 * np.linalg.norm(whitened) * np.linalg.norm(fisher)


def test_nothing_to_fit_to_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="no samples"):
        HeadFit(None, None)
