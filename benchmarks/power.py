"""Power, energy and temperature of a Jetson while the smallest shipped model runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.charts import COLOURS, figure_of, missing_lines, one_axes, size_name
from benchmarks.section import Plan, Rendered, Row, Tick
from benchmarks.sensors import (
    INA3221,
    INTERVAL_S,
    Reading,
    read_ina3221,
    readings_of,
    total_mw,
)
from benchmarks.tables import number, table_of
from edge.tensorrt.board import power_mode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_A_JETSON = "no tegrastats and no ina3221 (not a Jetson)"
SIZES = ((256, 256), (720, 1280), (1080, 1920))
FULL_S, QUICK_S, ROUNDS = 30.0, 6.0, 3
FIRST_READING_S = 5.0
"""How long the sensors may take until their first reading."""


@dataclass(slots=True)
class _Load:
    """Something that runs while the sensors are read; `work` is one frame, or nothing (idle)."""

    label: str
    work: Callable[[], object] | None
    frames: int = 0
    elapsed_s: float = 0.0
    readings: list[Reading] = field(default_factory=list)

    def run(self, found: list[Reading], seconds: float) -> None:
        start = time.perf_counter()
        while (now := time.perf_counter()) - start < seconds:
            if self.work is None:
                time.sleep(INTERVAL_S / 2)
            else:
                self.work()
                self.frames += 1
        self.elapsed_s += now - start
        self.readings += [reading for reading in found if start <= reading.at_s <= now]


class PowerSection:
    """Energy of a frame: mean power × time / frames, while the smallest shipped model runs.

    A budget of 0 s means the section's own: 30 s, or 6 s if quick, on a machine with sensors.
    """

    name = "power"
    title = "Power and temperature"

    def __init__(self, tegrastats: str = "tegrastats", ina3221: Path = INA3221) -> None:
        self._tegrastats = shutil.which(tegrastats)
        self._ina3221 = ina3221
        self._state: list[Row] = []
        self._loads: list[_Load] = []

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Run idle and each size in turn, several times, and read the sensors meanwhile.
        Raises ModelError: the model file cannot be used.
        """
        if not self._tegrastats and not read_ina3221(self._ina3221).rails_mw:
            self._state = [{"kind": "sensors", "missing": NOT_A_JETSON}]
            return
        seconds = plan.budget_s.get(self.name) or (QUICK_S if plan.quick else FULL_S)
        rounds = 1 if plan.quick else ROUNDS
        slice_s = max(seconds / rounds / (1 + len(SIZES)), 3 * INTERVAL_S)
        meter = "tegrastats" if self._tegrastats else "ina3221"
        with ExitStack() as stack:
            found = stack.enter_context(readings_of(self._tegrastats, self._ina3221))
            until = time.perf_counter() + FIRST_READING_S
            while not found and time.perf_counter() < until:
                time.sleep(INTERVAL_S / 2)
            if not found:
                why = f"{meter} gave no power rail within {FIRST_READING_S:.0f} s; try it as root"
                self._state = [{"kind": "sensors", "missing": why}]
                return
            mode = power_mode()
            known: Row = {"nvpmodel": mode} if mode else {}
            self._state = [{"kind": "state", **known, "sensors": meter}]
            self._loads = [_Load("idle", None), *_model_loads(max(plan.threads), stack)]
            for load in self._loads * rounds:
                load.run(found, slice_s)
                tick(load.label)

    def rows(self) -> list[Row]:
        """The power mode, then idle, then each size; or one row that says what is missing."""
        ran = [load for load in self._loads if load.elapsed_s]
        idle = next((load for load in ran if load.readings and load.work is None), None)
        idle_w = float(np.mean(_watts(idle))) if idle else None
        return [*self._state, *(_load_row(load, idle_w) for load in ran)]


def _model_loads(threads: int, stack: ExitStack) -> Iterator[_Load]:
    from edge.backends import open_backend
    from edge.weights import TINY, find_model

    backend = stack.enter_context(open_backend(find_model(TINY), threads))
    for height, width in SIZES:
        frames = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        backend.warm_up(height, width)
        yield _Load(size_name(height, width), partial(backend.infer, frames))


def _watts(load: _Load) -> list[float]:
    return [total_mw(reading.rails_mw) / 1e3 for reading in load.readings]


def _load_row(load: _Load, idle_w: float | None) -> Row:
    if not load.readings:
        why = f"{load.label}: the sensors gave no reading in {load.elapsed_s:.1f} s"
        return {"kind": "silence", "size": load.label, "missing": why}
    watts = _watts(load)
    rails = sorted({name for reading in load.readings for name in reading.rails_mw})
    hot = [t for reading in load.readings for t in reading.temperatures_c.values()]
    gpu = [r.gpu_load_percent for r in load.readings if r.gpu_load_percent is not None]
    clocks = [max(reading.gpu_mhz) for reading in load.readings if reading.gpu_mhz]
    row: Row = {
        "kind": "load" if load.work else "idle",
        "size": load.label,
        "readings": len(load.readings),
        "elapsed_s": load.elapsed_s,
        "mean_power_w": float(np.mean(watts)),
        "max_power_w": max(watts),
        "mean_rails_mw": {
            name: float(np.mean([r.rails_mw[name] for r in load.readings if name in r.rails_mw]))
            for name in rails
        },
        "hottest_c": max(hot, default=None),
        "mean_gpu_load_percent": float(np.mean(gpu)) if gpu else None,
        "mean_gpu_mhz": float(np.mean(clocks)) if clocks else None,
    }
    return row | (energy(float(np.mean(watts)), load, idle_w) if load.frames else {})


def energy(mean_power_w: float, load: _Load, idle_w: float | None) -> Row:
    """Rate and energy of a frame in millijoules: mean power × time / frames."""
    frame_s = load.elapsed_s / load.frames
    above = None if idle_w is None else (mean_power_w - idle_w) * frame_s * 1e3
    row: Row = {"frames": load.frames, "model_fps": 1 / frame_s}
    return row | {
        "energy_per_frame_mj": mean_power_w * frame_s * 1e3,
        "energy_above_idle_mj": above,
    }


_KEYS = (
    *("size", "mean_power_w", "max_power_w", "model_fps", "energy_per_frame_mj"),
    *("energy_above_idle_mj", "mean_gpu_load_percent", "hottest_c", "readings"),
)


def render(rows: list[Row]) -> Rendered:
    """A table, the power mode and a plot of a result file's rows."""
    loads = [row for row in rows if row.get("kind") in ("idle", "load")]
    parts = [
        f"Read from {row['sensors']}. Power mode: {row.get('nvpmodel', 'unknown')}."
        for row in rows
        if row.get("kind") == "state"
    ]
    parts += [table_of(loads, _KEYS)] if loads else []
    scored = [row for row in loads if row["kind"] == "load"]
    figures = {"power": _plot(scored)} if scored else {}
    return Rendered("\n\n".join([*parts, *missing_lines(rows)]), figures)


def _plot(scored: list[Row]) -> Figure:
    figure, axes = one_axes("", "energy of a frame (mJ)")
    values = [figure_of(row, "energy_per_frame_mj") for row in scored]
    bars = axes.bar([str(row["size"]) for row in scored], values, width=0.5, color=COLOURS[0])
    axes.bar_label(bars, [f"{number(value)} mJ" for value in values])
    axes.grid(False, axis="x")
    return figure
