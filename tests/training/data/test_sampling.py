from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge.errors import SourceError
from training.data.pictures import Picture, Pictures
from training.data.sampling import BalancedDraw


def _pictures() -> list[Picture]:
    sizes = {(0, "rare"): 1, (0, "common"): 9, (1, "made"): 4}
    return [
        Picture(Path(f"{source}{i}"), label, source)
        for (label, source), size in sizes.items()
        for i in range(size)
    ]


def test_sources_count_alike_and_so_do_pictures_within() -> None:
    draw, rng = BalancedDraw(_pictures()), np.random.default_rng(0)
    drawn = [draw.draw(0, rng) for _ in range(2000)]
    assert {p.label for p in drawn} == {0}
    assert 900 < sum(p.source == "rare" for p in drawn) < 1100
    common = Counter(p.path.name for p in drawn if p.source == "common")
    assert len(common) == 9 and min(common.values()) > 60
    assert {draw.draw(1, rng).source for _ in range(20)} == {"made"}


def test_draws_do_not_depend_on_the_order_of_sources() -> None:
    pictures = _pictures()
    turned = [p for s in ("made", "rare", "common") for p in pictures if p.source == s]
    one, other = BalancedDraw(Pictures.of(pictures)), BalancedDraw(turned)
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    assert [one.draw(i % 2, a) for i in range(50)] == [other.draw(i % 2, b) for i in range(50)]


def test_a_label_without_pictures_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SourceError, match="label 1"):
        BalancedDraw([p for p in _pictures() if p.label == 0]).draw(1, rng)
    with pytest.raises(SourceError, match="label 0"):
        BalancedDraw([]).draw(0, rng)
