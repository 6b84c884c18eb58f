"""How much work a picture is: parameters, MACs, FLOPs (= 2·MACs), memory traffic, intensity.

Counted, never timed: the same figures come out on every machine.
"""

from __future__ import annotations

from benchmarks.compute.report import render
from benchmarks.compute.section import ComputeSection

__all__ = ["ComputeSection", "render"]
