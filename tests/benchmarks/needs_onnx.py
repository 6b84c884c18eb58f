"""A section's module that cannot be imported where onnx is absent."""

from __future__ import annotations

import onnx

from tests.benchmarks.fake_sections import Steady as Section

__all__ = ["Section", "onnx"]
