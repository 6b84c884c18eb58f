from __future__ import annotations

import math

import numpy as np
import pytest

from edge.differences import Difference, difference, largest

MAP = np.array([[1.0, -20.0]])


def test_a_difference_is_absolute_to_one_and_relative_above() -> None:
    found = difference(0.5, 0.75, MAP, MAP + 2)
    assert (found.logit, found.patch) == (0.25, 2)
    assert (found.logit_scaled, found.patch_scaled) == (0.25, 0.1)
    assert difference(-50, -40).logit_scaled == pytest.approx(0.2)
    assert found.scaled == 0.25
    assert str(found) == "0.25 in a logit and 2 in a patch logit"


def test_what_is_not_finite_or_does_not_match_is_infinitely_far() -> None:
    for wrong in (math.nan, math.inf):
        assert difference(1, wrong).scaled == math.inf
        assert difference(1, 1, MAP, MAP * wrong).scaled == math.inf
    assert difference(1, 1, MAP).scaled == difference(1, 1, MAP, MAP.T).scaled == math.inf


def test_without_a_map_the_logit_alone_counts() -> None:
    found = difference(1, 1.5, None, None)
    assert found == Difference(0.5, None, 0.5, None)
    assert "patch" not in str(found)


def test_the_largest_of_each_figure_is_kept() -> None:
    one, other = Difference(1, 2, 3, 4), Difference(4, 3, 2, 1)
    assert largest([one, other]) == Difference(4, 3, 3, 4)
    assert largest([Difference(1, None, 1, None)]).patch is None
