"""Small sections with known figures, for the tests of what runs and draws sections."""

from __future__ import annotations

import importlib

import numpy as np

from benchmarks.section import Plan, Rendered, Row, Tick
from edge.errors import MissingDependency, ModelError


class Steady:
    """Ticks three times, and measures something each time."""

    name = "latency"
    title = "Steady figures"

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def measure(self, plan: Plan, tick: Tick) -> None:
        for index in range(3):
            self._one(index)
            tick(f"step {index}")

    def _one(self, index: int) -> None:
        self._rows.append(
            {"runtime": f"r{index}", "threads": 1, "p50_ms": np.float32(1.5), "max_ms": np.inf}
        )

    def rows(self) -> list[Row]:
        return list(self._rows)


class Interrupted(Steady):
    """Ctrl-C comes after the first row."""

    def _one(self, index: int) -> None:
        super()._one(index)
        raise KeyboardInterrupt


class Broken(Steady):
    """Raises what a section should not, after two rows."""

    title = "Broken figures"

    def _one(self, index: int) -> None:
        if index == 2:
            raise ZeroDivisionError("no figures left")
        super()._one(index)


class Refused(Steady):
    """A model that cannot be used."""

    def _one(self, index: int) -> None:
        raise ModelError("tiny.onnx: cannot be read.")


class Unequipped(Steady):
    """Needs a library that is absent, and says so."""

    def measure(self, plan: Plan, tick: Tick) -> None:
        raise MissingDependency("quantum", "measure", "pip install quantum")


class Importing(Steady):
    """Imports one that is absent."""

    def measure(self, plan: Plan, tick: Tick) -> None:
        importlib.import_module("quantum_annealer")


def render(rows: list[Row]) -> Rendered:
    """A sentence and a line through the rows; refuses a runtime named "bad"."""
    from matplotlib.figure import Figure

    if any(row.get("runtime") == "bad" for row in rows):
        raise KeyError("bad")
    figure = Figure(figsize=(4, 3))
    figure.subplots().plot([1, 2, 3])
    return Rendered(f"{len(rows)} rows were measured.", {"line": figure})
