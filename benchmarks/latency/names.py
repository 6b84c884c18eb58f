"""What candidates are called, in rows and in what is drawn of them."""

from __future__ import annotations

NAIVE = "ONNX Runtime, naive graph"
FOLDED = "ONNX Runtime, folded graph"
