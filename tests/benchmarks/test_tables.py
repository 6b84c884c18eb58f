from __future__ import annotations

import pytest

from benchmarks.tables import markdown_table, number


def test_a_table_is_padded_and_figures_stand_to_the_right() -> None:
    table = markdown_table(["name", "p50", "change"], [["a|b", "1.5 ms", "faster"], ["c", "", "x"]])
    assert table.splitlines() == [
        "| name |    p50 | change |",
        "| ---- | -----: | ------ |",
        "| a\\|b | 1.5 ms | faster |",
        "| c    |        | x      |",
    ]


def test_names_that_begin_with_a_digit_stand_to_the_left() -> None:
    assert markdown_table(["clip"], [["720p"], ["1080p"]]).splitlines()[1] == "| ----- |"
    assert markdown_table(["share"], [["5 %"], ["+1,080 M"]]).splitlines()[1] == "| -------: |"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00123456, "0.00123"),
        (12.3456, "12.3"),
        (12345.6, "12,346"),
        (-1.5, "-1.50"),
    ],
)
def test_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text
