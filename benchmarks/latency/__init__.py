"""How long one frame takes in every runtime that is present, one frame after the other."""

from __future__ import annotations

from benchmarks.latency.report import render
from benchmarks.latency.section import LatencySection

__all__ = ["LatencySection", "render"]
