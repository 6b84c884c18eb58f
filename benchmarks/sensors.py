"""Power rails, temperatures and clocks of a Jetson.

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
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

INA3221 = Path("/sys/bus/i2c/drivers/ina3221")
INTERVAL_S = 0.1
TOTALS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that feed all others: Orin Nano and NX, the first Nano, Thor."""

WITHIN_OTHERS = ("VDDQ_VDD2_1V8AO",)
"""Rails of a board without a total that another of its rails feeds (AGX Orin's VIN_SYS_5V0)."""

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
        at_s: when, on the clock of `time.perf_counter`.
    """

    rails_mw: Mapping[str, float]
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    gpu_load_percent: float | None = None
    gpu_mhz: tuple[int, ...] = ()
    at_s: float = field(default_factory=time.perf_counter, compare=False)


def parse_tegrastats(line: str) -> Reading:
    """Read one line of tegrastats; what it does not say stays empty."""
    gpu = _GPU.search(line)
    clocks = (gpu["many"] or gpu["one"] or "") if gpu else ""
    temperatures = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    return Reading(
        rails_mw={name: float(value) for name, value in _RAIL.findall(line)},
        temperatures_c={n: value for n, value in temperatures.items() if value > DISCONNECTED_C},
        gpu_load_percent=float(gpu["load"]) if gpu and gpu["load"] else None,
        gpu_mhz=tuple(int(clock) for clock in clocks.split(",") if clock),
    )


def read_ina3221(root: Path = INA3221) -> Reading:
    """The rails of every ina3221 in sysfs: millivolts times milliamperes.

    A channel without a label, with the label NC, or that cannot be read is left out.
    """
    rails: dict[str, float] = {}
    for label in sorted(root.glob("*/hwmon/hwmon*/in[1-3]_label")):
        paths = [label.parent / f"{what}{label.name[2]}_input" for what in ("in", "curr")]
        try:
            name = label.read_text(encoding="utf-8").strip()
            millivolts, milliamperes = (float(path.read_text(encoding="utf-8")) for path in paths)
        except (OSError, ValueError):
            continue
        if name and name != "NC":
            rails[name] = millivolts * milliamperes / 1e3
    return Reading(rails)


def total_mw(rails_mw: Mapping[str, float]) -> float:
    """Power of the module in milliwatts: the rail that feeds all others where there is one; else
    the sum of the rails, without those that another of them feeds.
    Raises ValueError: no rails.
    """
    if not rails_mw:
        raise ValueError("expected at least one power rail, found none")
    for name in TOTALS:
        if name in rails_mw:
            return rails_mw[name]
    return sum(power for name, power in rails_mw.items() if name not in WITHIN_OTHERS)


@contextmanager
def readings_of(tegrastats: str | None, ina3221: Path) -> Iterator[list[Reading]]:
    """A list that grows while the block runs, of tegrastats' lines or, without it, of sysfs."""
    found: list[Reading] = []
    ended = threading.Event()

    def keep(reading: Reading) -> None:
        if reading.rails_mw:
            found.append(reading)

    def follow_sysfs() -> None:
        while not ended.wait(INTERVAL_S):
            keep(read_ina3221(ina3221))

    def follow_lines(process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            keep(parse_tegrastats(line))

    with ExitStack() as stack:
        target: Callable[[], object] = follow_sysfs
        if tegrastats:
            command = [tegrastats, "--interval", str(int(INTERVAL_S * 1e3))]
            process = stack.enter_context(
                subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
            )
            target = partial(follow_lines, process)
        thread = threading.Thread(target=target, name="power", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(process.terminate if tegrastats else ended.set)
        yield found
