"""The model card's tables are those of the committed figures."""

from __future__ import annotations

from pathlib import Path

from training.evaluation.report import stale

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "docs" / "model-card.md"
RESULTS = ROOT / "benchmarks" / "results"


def test_the_figures_are_those_of_the_newest_evaluation() -> None:
    newest = max(RESULTS.glob("quality_*.json"))
    assert newest.name in CARD.read_text(encoding="utf-8")
    assert stale(CARD, newest) is None
