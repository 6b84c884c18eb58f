"""Power, energy and temperature of a Jetson while the smallest shipped model runs.

Read from tegrastats, or from the ina3221 sensors in sysfs where tegrastats is absent. Formats of
tegrastats differ with the board and the JetPack:

    GR3D_FREQ 10%@1300             JetPack 6, Orin
    GR3D_FREQ 12%@[1300,1300]      JetPack 7, Orin: a clock for each cluster
    GR3D_FREQ @[1000,1000,1000]    Thor: no utilisation
    VDD_IN 4891mW/4850mW           a rail: now/average, on some boards with a further figure
    gpu@47.6C                      a temperature
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from typing_extensions import Self

from benchmarks.charts import COLOURS, INK, figure_of, missing_lines, one_axes, size_name
from benchmarks.section import Plan, Rendered, Row, Tick
from benchmarks.tables import markdown_table, number
from edge.backends import open_backend
from edge.weights import TINY, find_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INA3221 = Path("/sys/bus/i2c/drivers/ina3221")
CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
NOT_A_JETSON = "no tegrastats and no ina3221 (not a Jetson)"
TOTALS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that feed all others: Orin Nano and NX, the first Nano, Thor."""

WITHIN_OTHERS = ("VDDQ_VDD2_1V8AO",)
"""Rails of a board without a total that another of its rails feeds (AGX Orin's VIN_SYS_5V0)."""

INTERVAL_S = 0.1
SIZES = ((256, 256), (720, 1280), (1080, 1920))
ROUNDS = 3
FULL_S = 30.0
QUICK_S = 6.0
FIRST_READING_S = 5.0
"""How long a meter may take until its first reading."""

DISCONNECTED_C = -100.0
"""Colder is no temperature: a sensor that is switched off reads -256."""

_GPU = re.compile(r"\bGR3D_FREQ (?:(?P<load>\d+)%)?(?:@(?:\[(?P<many>[\d,]+)\]|(?P<one>\d+)))?")
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (-?\d+)(?:mW)?(?:/-?\d+(?:mW)?){1,2}(?=\s|$)")
_TEMPERATURE = re.compile(r"\b(\w+)@(-?\d+(?:\.\d+)?)C\b")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the sensors said at one moment.

    Attributes:
        rails_mw: rail → milliwatts at this moment, not tegrastats' average.
        temperatures_c: sensor → degrees Celsius; those that are switched off are left out.
        gpu_load_percent: None where it is not said.
        gpu_mhz: a clock for each cluster; empty where it is not said.
    """

    rails_mw: Mapping[str, float]
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    gpu_load_percent: float | None = None
    gpu_mhz: tuple[int, ...] = ()


def parse_tegrastats(line: str) -> Reading:
    """Read one line of tegrastats; what it does not say stays empty."""
    gpu = _GPU.search(line)
    load = gpu["load"] if gpu else None
    clocks = (gpu["many"] or gpu["one"] or "") if gpu else ""
    temperatures = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    return Reading(
        rails_mw={name: float(value) for name, value in _RAIL.findall(line)},
        temperatures_c={n: value for n, value in temperatures.items() if value > DISCONNECTED_C},
        gpu_load_percent=None if load is None else float(load),
        gpu_mhz=tuple(int(clock) for clock in clocks.split(",") if clock),
    )


def read_ina3221(root: Path = INA3221) -> Reading:
    """The rails of every ina3221 in sysfs: millivolts times milliamperes.

    A channel without a label, with the label NC, or that cannot be read is left out.
    """
    rails: dict[str, float] = {}
    for label in sorted(root.glob("*/hwmon/hwmon*/in[1-3]_label")):
        channel = label.name[2]
        try:
            name = label.read_text(encoding="utf-8").strip()
            millivolts = float((label.parent / f"in{channel}_input").read_text(encoding="utf-8"))
            milliamperes = float(
                (label.parent / f"curr{channel}_input").read_text(encoding="utf-8")
            )
        except (OSError, ValueError):
            continue
        if name and name != "NC":
            rails[name] = millivolts * milliamperes / 1e3
    return Reading(rails)


def total_mw(rails_mw: Mapping[str, float]) -> float:
    """Power of the module in milliwatts.

    The rail that feeds all others where there is one; else the sum of the rails, without those
    that another of them feeds.

    Raises:
        ValueError: no rails.
    """
    if not rails_mw:
        raise ValueError("expected at least one power rail, found none")
    for name in TOTALS:
        if name in rails_mw:
            return rails_mw[name]
    return sum(power for name, power in rails_mw.items() if name not in WITHIN_OTHERS)


class Meter(Protocol):
    """Reads the sensors in the background, from entering to leaving it.

    Attributes:
        name: for instance "tegrastats".
        readings: (`time.perf_counter()`, reading) in order; grows meanwhile.
    """

    name: str
    readings: list[tuple[float, Reading]]

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class TegrastatsMeter:
    """Runs tegrastats and reads its lines.

    Args:
        program: its name or path.
    """

    name = "tegrastats"

    def __init__(self, program: str = "tegrastats") -> None:
        self.readings: list[tuple[float, Reading]] = []
        self._program = program

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [self._program, "--interval", str(int(INTERVAL_S * 1e3))],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._thread = threading.Thread(target=self._follow, name="tegrastats", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        if self._process.stdout:
            self._process.stdout.close()

    def _follow(self) -> None:
        for line in self._process.stdout or ():
            reading = parse_tegrastats(line)
            if reading.rails_mw:
                self.readings.append((time.perf_counter(), reading))


class SysfsMeter:
    """Reads the ina3221 sensors ten times a second.

    Args:
        root: of the driver in sysfs.
    """

    name = "ina3221"

    def __init__(self, root: Path = INA3221) -> None:
        self.readings: list[tuple[float, Reading]] = []
        self._root = root
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._follow, name="ina3221", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            reading = read_ina3221(self._root)
            if reading.rails_mw:
                self.readings.append((time.perf_counter(), reading))


@dataclass(slots=True)
class _Load:
    """Something that runs while the meter reads; `work` is one frame, or nothing (idle)."""

    label: str
    work: Callable[[], object] | None
    frames: int = 0
    elapsed_s: float = 0.0
    readings: list[Reading] = field(default_factory=list)

    def run(self, meter: Meter, seconds: float) -> None:
        start = time.perf_counter()
        frames = 0
        while time.perf_counter() - start < seconds:
            if self.work is None:
                time.sleep(INTERVAL_S / 2)
            else:
                self.work()
                frames += 1
        end = time.perf_counter()
        self.frames += frames
        self.elapsed_s += end - start
        self.readings += [reading for at, reading in meter.readings if start <= at <= end]


class PowerSection:
    """Energy of a frame: mean power × time / frames, while the smallest shipped model runs.

    A budget of 0 s means the section's own: 30 s, or 6 s if quick, on a machine with sensors.

    Args:
        model: a model file that takes any size; the smallest shipped one if None.
        tegrastats: name or path of the program.
        ina3221: root of the driver in sysfs.
        sizes: (height, width) pairs.
    """

    name = "power"
    title = "Power and temperature"

    def __init__(
        self,
        model: Path | None = None,
        tegrastats: str = "tegrastats",
        ina3221: Path = INA3221,
        sizes: Sequence[tuple[int, int]] = SIZES,
    ) -> None:
        self._model = model or find_model(TINY)
        self._tegrastats = tegrastats
        self._ina3221 = ina3221
        self._sizes = sizes
        self._state: list[Row] = []
        self._loads: list[_Load] = []

    def steps(self, plan: Plan) -> int:
        """One for each load in each round; one to say that there are no sensors."""
        return self._rounds(plan) * (1 + len(self._sizes)) if self._meter() else 1

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Run idle and each size in turn, several times, and read the sensors meanwhile.

        Raises:
            ModelError: the model file cannot be used.
        """
        meter = self._meter()
        if meter is None:
            self._state = [{"kind": "sensors", "missing": NOT_A_JETSON}]
            tick("no power sensors")
            return
        seconds = plan.budget_s.get(self.name) or (QUICK_S if plan.quick else FULL_S)
        slice_s = max(seconds / self.steps(plan), 3 * INTERVAL_S)
        with ExitStack() as stack:
            stack.enter_context(meter)
            if not _wait_for_reading(meter):
                self._state = [{"kind": "sensors", "missing": _silent(meter)}]
                return
            self._state = [power_state() | {"sensors": meter.name}]
            self._loads = self._make_loads(max(plan.threads), stack)
            for load in self._loads * self._rounds(plan):
                load.run(meter, slice_s)
                tick(load.label)

    def rows(self) -> list[Row]:
        """The power mode, then idle, then each size; or one row that says what is missing."""
        read = [load for load in self._loads if load.readings]
        ran = [load for load in self._loads if load.elapsed_s]
        idle_w = next((_mean_w(load.readings) for load in read if load.work is None), None)
        return [*self._state, *(_load_row(load, self._model.stem, idle_w) for load in ran)]

    def _rounds(self, plan: Plan) -> int:
        return 1 if plan.quick else ROUNDS

    def _meter(self) -> Meter | None:
        if shutil.which(self._tegrastats):
            return TegrastatsMeter(self._tegrastats)
        return SysfsMeter(self._ina3221) if read_ina3221(self._ina3221).rails_mw else None

    def _make_loads(self, threads: int, stack: ExitStack) -> list[_Load]:
        backend = stack.enter_context(open_backend(self._model, threads))
        loads = [_Load("idle", None)]
        for height, width in self._sizes:
            frames = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
            backend.warm_up(height, width)
            loads.append(_Load(size_name(height, width), _bound(backend.infer, frames)))
        return loads


def _bound(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _wait_for_reading(meter: Meter) -> bool:
    until = time.perf_counter() + FIRST_READING_S
    while not meter.readings and time.perf_counter() < until:
        time.sleep(INTERVAL_S / 2)
    return bool(meter.readings)


def _silent(meter: Meter) -> str:
    return f"{meter.name} gave no power rail within {FIRST_READING_S:.0f} s; try it as root"


def power_state(cpufreq: Path = CPUFREQ) -> Row:
    """The power mode as `nvpmodel -q` says it, and the bounds of the first core's clock.

    Bounds that are equal mean that jetson_clocks, or somebody, has pinned the clock.
    """
    row: Row = {"kind": "state"}
    if program := shutil.which("nvpmodel"):
        done = subprocess.run([program, "-q"], capture_output=True, text=True, check=False)
        row["nvpmodel"] = done.stdout.strip() or done.stderr.strip()
    for bound in ("min", "max"):
        try:
            khz = float((cpufreq / f"scaling_{bound}_freq").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        row[f"cpu_{bound}_mhz"] = khz / 1e3
    return row


def _mean_w(readings: Iterable[Reading]) -> float:
    return float(np.mean([total_mw(reading.rails_mw) for reading in readings])) / 1e3


def _load_row(load: _Load, model: str, idle_w: float | None) -> Row:
    if not load.readings:
        return {
            "kind": "silence",
            "size": load.label,
            "missing": f"{load.label}: the sensors gave no reading in {load.elapsed_s:.1f} s",
        }
    powers_w = [total_mw(reading.rails_mw) / 1e3 for reading in load.readings]
    row: Row = {
        "kind": "idle" if load.work is None else "load",
        "readings": len(load.readings),
        "elapsed_s": load.elapsed_s,
        "mean_power_w": _mean_w(load.readings),
        "max_power_w": max(powers_w),
        "mean_rails_mw": _mean_of([reading.rails_mw for reading in load.readings]),
        "max_temperatures_c": _max_of([reading.temperatures_c for reading in load.readings]),
    }
    gpu = [r.gpu_load_percent for r in load.readings if r.gpu_load_percent is not None]
    if gpu:
        row["mean_gpu_load_percent"] = float(np.mean(gpu))
    clocks = [max(reading.gpu_mhz) for reading in load.readings if reading.gpu_mhz]
    if clocks:
        row["mean_gpu_mhz"] = float(np.mean(clocks))
    if load.work is not None:
        row |= {"model": model, "size": load.label, "frames": load.frames}
        row |= energy(_mean_w(load.readings), load.elapsed_s, load.frames, idle_w)
    return row


def energy(mean_power_w: float, elapsed_s: float, frames: int, idle_w: float | None) -> Row:
    """Energy of a frame in millijoules: mean power × time / frames.

    Args:
        mean_power_w: while the model ran.
        elapsed_s: how long it ran.
        frames: how many it scored meanwhile, at least one.
        idle_w: mean power while nothing ran; None leaves out `energy_above_idle_mj`.
    """
    row: Row = {
        "model_fps": frames / elapsed_s,
        "energy_per_frame_mj": mean_power_w * elapsed_s / frames * 1e3,
    }
    if idle_w is not None:
        row["energy_above_idle_mj"] = (mean_power_w - idle_w) * elapsed_s / frames * 1e3
    return row


def _mean_of(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in _by_name(readings).items()}


def _max_of(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: max(values) for name, values in _by_name(readings).items()}


def _by_name(readings: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for reading in readings for name in reading)
    return {name: [r[name] for r in readings if name in r] for name in names}


def render(rows: list[Row]) -> Rendered:
    """A table, the power mode and a plot of a result file's rows.

    Raises:
        ValueError: the rows are of another version.
    """
    loads = [row for row in rows if row.get("kind") in ("idle", "load")]
    parts = [_state_text(rows), _table(loads), "\n".join(missing_lines(rows))]
    scored = [row for row in loads if row["kind"] == "load"]
    figures = {"power": _plot(scored)} if scored else {}
    return Rendered("\n\n".join(part for part in parts if part), figures)


def _state_text(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        if row.get("kind") != "state":
            continue
        mode = " / ".join(str(row["nvpmodel"]).splitlines()) if "nvpmodel" in row else "unknown"
        lines.append(f"Read from {row['sensors']}. Power mode (`nvpmodel -q`): {mode}.")
        if "cpu_min_mhz" in row and "cpu_max_mhz" in row:
            low, high = figure_of(row, "cpu_min_mhz"), figure_of(row, "cpu_max_mhz")
            how = "pinned" if low == high else "not pinned"
            lines.append(f"CPU clock {how}: {low:.0f} to {high:.0f} MHz.")
    return " ".join(lines)


def _table(loads: list[Row]) -> str:
    body = [_cells(row) for row in loads]
    head = ["load", "mean W", "max W", "frames per second", "mJ per frame", "above idle, mJ"]
    head += ("GPU load", "hottest sensor", "readings")
    return f"{markdown_table(head, body)}\n\n{_rails_text(loads)}" if body else ""


def _cells(row: Row) -> tuple[str, ...]:
    return (
        str(row.get("size", "idle")),
        number(figure_of(row, "mean_power_w")),
        number(figure_of(row, "max_power_w")),
        _optional(row, "model_fps"),
        _optional(row, "energy_per_frame_mj"),
        _optional(row, "energy_above_idle_mj"),
        f"{_optional(row, 'mean_gpu_load_percent')} %" if "mean_gpu_load_percent" in row else "",
        _hottest(_figures(row, "max_temperatures_c")),
        f"{row['readings']}",
    )


def _optional(row: Row, key: str) -> str:
    return number(figure_of(row, key)) if key in row else ""


def _hottest(temperatures_c: Mapping[str, float]) -> str:
    name = max(temperatures_c, key=lambda sensor: temperatures_c[sensor], default=None)
    return f"{name} {temperatures_c[name]:.1f} °C" if name else ""


def _figures(row: Row, key: str) -> dict[str, float]:
    value = row.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object {key!r} in a row, found {value!r}")
    return {str(name): float(figure) for name, figure in value.items()}


def _rails_text(loads: list[Row]) -> str:
    lines = []
    for row in loads:
        rails = _figures(row, "mean_rails_mw")
        listed = ", ".join(f"{name} {power:.0f} mW" for name, power in rails.items())
        lines.append(f"- {row.get('size', 'idle')}: {listed}")
    return "Mean of each rail:\n\n" + "\n".join(lines)


def _plot(scored: list[Row]) -> Figure:
    figure, axes = one_axes("", "energy of a frame (mJ)")
    names = [str(row["size"]) for row in scored]
    whole = [figure_of(row, "energy_per_frame_mj") for row in scored]
    axes.bar(names, whole, width=0.5, color=COLOURS[0])
    for place, energy_mj in enumerate(whole):
        axes.annotate(
            f"{number(energy_mj)} mJ",
            (place, energy_mj),
            (0, 4),
            ha="center",
            textcoords="offset points",
            color=INK,
        )
    axes.grid(False, axis="x")
    return figure
