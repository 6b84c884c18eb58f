from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import UsageError
from tests.training.evaluation.made import made_record
from training.evaluation.report import card_tables, stale, write_card
from training.evaluation.summary import summarise, write_summary

TEXT = """# Model

<!-- figures:begin AUC -->
<!-- figures:end -->

Words that stay.

<!-- figures:begin false alarms per source -->
| old |
<!-- figures:end -->
"""
DRAWS = 30


def test_tables_are_rewritten_and_words_stay(tmp_path: Path) -> None:
    card, figures = tmp_path / "card.md", tmp_path / "quality.json"
    card.write_text(TEXT)
    summary = summarise(made_record(), DRAWS)
    figures.write_text(write_summary(summary))
    assert "not those of" in str(stale(card, figures))
    assert write_card(card, summary)
    text = card.read_text()
    assert "| model | untouched | JPEG 75 |" in text and "| cam-a (6) | b |" in text
    assert "Words that stay." in text and "| old |" not in text
    assert stale(card, figures) is None and not write_card(card, summary)
    figures.write_text(write_summary(summarise(made_record(seed=1), DRAWS)))
    assert stale(card, figures) is not None


def test_every_table_can_be_made_of_one_model_and_of_two(tmp_path: Path) -> None:
    text = "\n".join(
        f"<!-- figures:begin {name} -->\n<!-- figures:end -->" for name in card_tables()
    )
    for models in (("a",), ("a", "b")):
        card = tmp_path / "card.md"
        card.write_text(text)
        assert write_card(card, summarise(made_record(models), DRAWS))
    assert "a − b" in card.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no markers", "found 0 beginnings and 0 ends"),
        ("<!-- figures:begin AUC -->\n", "found 1 beginnings and 0 ends"),
        (
            "<!-- figures:begin AUC -->\n<!-- figures:begin AP -->\n<!-- figures:end -->",
            "found 2 beginnings and 1 ends",
        ),
        ("<!-- figures:begin speed -->\n<!-- figures:end -->", "no table 'speed'"),
    ],
)
def test_wrong_markers_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    card = tmp_path / "card.md"
    card.write_text(text)
    with pytest.raises(UsageError, match=said):
        write_card(card, summarise(made_record(), DRAWS))
    assert card.read_text() == text


def test_an_absent_card_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as text"):
        write_card(tmp_path / "card.md", summarise(made_record(), DRAWS))
