"""How well a detector tells generated pictures from photographs, per generator and degradation."""

from __future__ import annotations

from training.evaluation.measured import Evaluation, Logits, auc
from training.evaluation.trained import evaluate

__all__ = ["Evaluation", "Logits", "auc", "evaluate"]
