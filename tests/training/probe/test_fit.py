from __future__ import annotations

import numpy as np
import pytest
import torch

from edge.errors import UsageError
from training.evaluation import auc
from training.models import build
from training.probe.fit import Head, HeadFit, Rows, head_of


def _rows(direction: list[float], count: int = 400, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    noise = rng.normal(0, 1, (count, len(direction)))
    features = (noise + np.outer(labels - 0.5, direction)).astype(np.float32)
    return Rows(features, labels, np.full(count, "s"))


def test_the_head_finds_the_direction_that_separates_whatever_its_scale() -> None:
    rows = _rows([3.0, 0.0])
    stretched = Rows(rows.features * np.array([1000, 0.01], np.float32), rows.labels, rows.sources)
    head = HeadFit(stretched).head(1.0, 0.0)
    logits = head.logits(stretched.features)
    assert ((logits > 0) == (stretched.labels > 0)).mean() > 0.9
    assert abs(head.weight[0] * 1000) > 5 * abs(head.weight[1] * 0.01)


def test_labels_and_sources_count_alike_and_a_factor_more() -> None:
    labels = np.array([0] * 9 + [1] * 3)
    sources = np.array(["many"] * 8 + ["one"] + ["g", "g", "h"])
    rows = Rows(np.zeros((12, 1), np.float32), labels, sources)
    weights = rows.weights({})
    assert weights.sum() == pytest.approx(12) and weights[:9].sum() == pytest.approx(6)
    assert weights[8] == pytest.approx(weights[:8].sum()) == pytest.approx(3)
    heavy = rows.weights({"one": 3.0})
    assert heavy[8] == pytest.approx(3 * heavy[:8].sum()) == pytest.approx(4.5)


def test_a_model_with_the_head_gives_its_logits() -> None:
    model = build("lite0_magnitudes_s16", "raw").eval()
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
    labels = np.arange(2000) % 2
    content = rng.normal(0, 3, 2000)
    clean = labels + rng.normal(0, 1, 2000)
    features = np.stack([clean, labels + content + rng.normal(0, 0.5, 2000), content], 1)
    fit = HeadFit(Rows(features.astype(np.float32), labels, np.full(2000, "s")))
    fisher = np.linalg.solve(
        sum(np.cov(features[labels == label].T) for label in (0, 1)),
        features[labels == 1].mean(0) - features[labels == 0].mean(0),
    )
    whitened = fit.head(1e6, 1e6).weight
    assert np.dot(whitened, fisher) > 0.998 * np.linalg.norm(whitened) * np.linalg.norm(fisher)


def test_a_source_is_judged_by_a_head_that_has_not_seen_it() -> None:
    # Every source has a feature of its own, by which a head knows the label of those it has seen.
    rng = np.random.default_rng(0)
    source = np.repeat(np.arange(12), 20)
    features = rng.normal(0, 0.1, (240, 13))
    features[np.arange(240), source] += 1
    labels = source % 2
    features[:, 12] += 0.05 * labels
    rows = Rows(features.astype(np.float32), labels, source.astype(str))
    fit = HeadFit(rows)
    seen = fit.head(10.0, 0.0).logits(rows.features)
    unseen = fit.cross_fitted(10.0, 0.0, folds=3, seed=0)
    aucs = [auc(x[labels == 0], x[labels == 1]) for x in (seen, unseen)]
    assert aucs[0] == 1.0 and aucs[1] < 0.9
    assert np.array_equal(unseen, fit.cross_fitted(10.0, 0.0, folds=3, seed=0))


def test_what_cannot_be_fitted_is_one_sentence() -> None:
    rows = _rows([1.0])
    real = Rows(rows.features, np.zeros(400, int), rows.sources)
    with pytest.raises(UsageError, match="no samples"):
        HeadFit(real)
    with pytest.raises(UsageError, match="and are not late"):
        HeadFit(rows, dict.fromkeys(rows.sources.tolist(), 0.0))
    with pytest.raises(UsageError, match="at most one for each source of a label, found 2 for 1"):
        HeadFit(rows).cross_fitted(1.0, 0.0, folds=2, seed=0)


def test_a_head_that_is_kept_moves_as_far_as_the_strength_lets_it() -> None:
    rows = _rows([3.0, 0.0])
    start = Head(np.array([0.0, 2.0]), 1.0)
    fit = HeadFit(rows, start=start)
    held, free = fit.head(1e-9, 0.0), fit.head(100.0, 0.0)
    assert held.weight == pytest.approx(start.weight, abs=1e-3) and held.bias == pytest.approx(1)
    alone = HeadFit(rows).head(100.0, 0.0)
    assert free.weight == pytest.approx(alone.weight, rel=0.05, abs=0.05)
    between = fit.head(1e-3, 1.0)
    assert 0.05 < between.weight[0] < free.weight[0]


def test_the_head_of_a_model_is_what_was_put_into_it() -> None:
    model = build("lite0_magnitudes_s16", "raw")
    head = Head(np.linspace(-1, 1, model.fc.in_features), 0.25)
    head.put_into(model)
    found = head_of(model)
    assert found.weight == pytest.approx(head.weight) and found.bias == 0.25
