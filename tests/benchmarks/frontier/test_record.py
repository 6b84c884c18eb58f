from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.frontier.record import (
    Point,
    cheapest_first,
    frontier_text,
    is_frontier,
    read_frontier,
)
from edge.errors import UsageError
from tests.benchmarks.frontier.made import JPEG, UNTOUCHED, frontier, point


def test_a_written_frontier_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "frontier.json"
    made = frontier(point("a", 2.0), point("b", None))
    path.write_text(frontier_text(made))
    assert is_frontier(path) and read_frontier(path) == made


def test_the_compressed_columns_are_averaged_with_the_ends_of_their_intervals() -> None:
    value, low, high = point("a", 1.0, untouched=0.9, compressed=0.7).compressed() or (0, 0, 0)
    assert (value, low, high) == pytest.approx((0.7, 0.64, 0.76))
    assert (point("a", 1.0, untouched=0.9).untouched() or (0,))[0] == 0.9


@pytest.mark.parametrize("auc", [{UNTOUCHED: (0.9, 0.8, 1.0)}, {JPEG: None}, {}])
def test_where_a_compressed_column_lacks_there_is_no_mean(
    auc: dict[str, tuple[float, float, float] | None],
) -> None:
    bare: Point = point("a", 1.0).model_copy(update={"auc": auc})
    assert bare.compressed() is None


def test_the_cheapest_comes_first_and_what_is_not_counted_last() -> None:
    points = [point("none", None), point("dear", 9.0), point("cheap", 1.0)]
    assert [p.name for p in cheapest_first(points)] == ["cheap", "dear", "none"]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read"), ("{", "JSON"), ('{"theme": "frontier"}', "bench frontier --json")],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "frontier.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_frontier(path)
    assert is_frontier(path) == (text is not None and "theme" in text)
