"""Result files: one JSON each, with what is needed to believe its figures."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError
from pydantic_core import to_json

from benchmarks.section import Plan, Row
from edge.errors import UsageError
from edge.files import write_whole
from edge.schema import Strict, fault
from edge.tensorrt.board import read_board

RESULTS = Path(__file__).parent / "results"
"""Those that are published."""
OUTPUT = Path("out/bench")
"""Where a measurement goes: below the current folder, as the program's may be an installation."""
BENCH = "bench"
SCHEMA = 1
BUSY_PER_CORE = 0.5
_FLAT_LIST = re.compile(r"\[\n([^\[\]{}\"]*)\]")
_LIBRARIES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python", "opencv-python-headless", "av"),
    *("torch", "openvino", "tensorrt"),
)


class Conditions(Strict):
    """The load of the machine over 1, 5 and 15 minutes before the first measurement; it is busy if
    the first exceeds half of the cores.
    """

    load_average: tuple[float, float, float]
    busy: bool


class Measured(Strict):
    """A section: its heading, and its rows as it gave them."""

    title: str
    rows: list[Row]


class BenchResult(Strict):
    """A result file of `patchwatch bench`.

    Attributes:
        time: when it was written, UTC, ISO 8601.
        commit: of the code; ends in "-dirty" where that was edited.
        interrupted: it was ended before all was measured.
        warning: why its figures deserve less trust; None if nothing is known.
        sections: section → its rows, in the order of measuring.
    """

    # "schema" is a method of pydantic's models, so the field has another name than its key.
    schema_number: int = Field(default=SCHEMA, alias="schema")
    theme: str = BENCH
    time: str
    commit: str
    machine: dict[str, object]
    config: Plan
    conditions: Conditions
    interrupted: bool = False
    warning: str | None = None
    sections: dict[str, Measured]


def bench_result(
    plan: Plan,
    conditions: Conditions,
    sections: Mapping[str, Measured],
    interrupted: bool = False,
) -> BenchResult:
    """What was measured, with the machine, the time and the commit of now."""
    warning = (
        f"The machine was busy before the start (load average {conditions.load_average[0]:.2f} on "
        f"{os.cpu_count()} cores), so latencies may be too high."
    )
    return BenchResult(
        time=now(),
        commit=_commit(),
        machine=describe_machine(),
        config=plan,
        conditions=conditions,
        interrupted=interrupted,
        warning=warning if conditions.busy else None,
        sections=dict(sections),
    )


def write_bench(result: BenchResult, folder: Path = OUTPUT) -> Path:
    """Write `bench_<machine>_<date>_<commit>.json`, and return its path.

    An earlier file of that name stays; the new one gets a number. The folder is made if absent.
    Raises SinkError: the folder cannot be written to.
    """
    path, number = folder / f"{file_stem(BENCH, result.commit)}.json", 1
    while path.exists():
        number += 1
        path = folder / f"{file_stem(BENCH, result.commit)}_{number}.json"
    write_json(path, result.model_dump(by_alias=True))
    return path


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def file_stem(theme: str, commit: str | None = None) -> str:
    """`<theme>_<machine>_<date>_<commit>`."""
    date = now()[:10].replace("-", "")
    return f"{theme}_{platform.machine()}-{os.cpu_count()}core_{date}_{commit or _commit()}"


def _commit() -> str:
    return _output("git", "describe", "--always", "--dirty") or "unknown"


def write_json(path: Path, data: Mapping[str, object]) -> None:
    """Write a result, lists of numbers on one line.
    Raises SinkError: it cannot be written.
    """
    # A stray NumPy scalar or NaN must not lose a whole measurement.
    text = to_json(data, indent=2, inf_nan_mode="null", fallback=_plain).decode() + "\n"
    # Samples on one line: JSON has no bare line break inside a string, so only lists match.
    write_whole(path, _FLAT_LIST.sub(lambda match: f"[{' '.join(match[1].split())}]", text))


def read_bench(path: Path) -> BenchResult:
    """The result file of a run of `patchwatch bench`.
    Raises UsageError: it is absent, is not such a file, or has another schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"Expected a result file of 'patchwatch bench' at {path}: {error}.") from (
            error
        )
    if not isinstance(data, dict) or data.get("theme") != BENCH:
        raise UsageError(f"{path} is not a result file of 'patchwatch bench'.")
    if data.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} has schema {data.get('schema')!r}, and this program reads {SCHEMA}. "
            "Measure again, or use the program that wrote it."
        )
    try:
        return BenchResult.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{path} is broken: {fault(error, 'the whole')}.") from error


def conditions_now() -> Conditions:
    """The load of the machine at this moment; call before measuring."""
    load = os.getloadavg()
    return Conditions(load_average=load, busy=load[0] > BUSY_PER_CORE * (os.cpu_count() or 1))


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def describe_machine() -> dict[str, object]:
    """Processor, cores, memory, board and GPU, system and the versions of the libraries in use."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "governor": _first_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "board": read_board().model,
        "gpu": _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def _cpu_model() -> str:
    found = re.search(r"^(?:model name|Model)\s*: (.*)", _first_text("/proc/cpuinfo") or "", re.M)
    return found[1].strip() if found else platform.processor() or "unknown"


def _first_text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """What a program prints, or None where it is absent or fails."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
