"""The whole way: a clip through the pipeline, a live stream to its verdict, a cold start."""

from __future__ import annotations

from benchmarks.end_to_end.report import render
from benchmarks.end_to_end.section import EndToEndSection

__all__ = ["EndToEndSection", "render"]
