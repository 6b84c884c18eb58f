"""The model card's tables are those of the committed figures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.frontier.table import stale as frontier_stale
from training.evaluation.card import stale

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "docs" / "model-card.md"
RESULTS = ROOT / "benchmarks" / "results"


def test_the_figures_are_those_of_the_newest_evaluation() -> None:
    newest = max(RESULTS.glob("quality_*.json"))
    assert newest.name in CARD.read_text(encoding="utf-8")
    assert stale(CARD, newest) is None


def test_the_frontier_is_that_of_the_newest_count() -> None:
    newest = max(RESULTS.glob("frontier_*.json"))
    assert frontier_stale(CARD, newest, max(RESULTS.glob("family_*.json"))) is None
