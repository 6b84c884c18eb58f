"""How well a detector separates generated pictures from photographs, per generator and column."""

from __future__ import annotations

from training.evaluation.record import Evaluation, Logits, auc, evaluate

__all__ = ["Evaluation", "Logits", "auc", "evaluate"]
