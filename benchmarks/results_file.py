"""Result files: one JSON each, with what is needed to believe its figures."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_LIBRARIES = ("numpy", "onnxruntime", "opencv-python", "opencv-python-headless", "av", "torch")


def write_result(
    theme: str, figures: Mapping[str, object], config: Mapping[str, object], folder: Path = RESULTS
) -> Path:
    """Write `<theme>_<machine>_<date>_<commit>.json` and return its path.

    Args:
        theme: what was measured, for instance "start".
        figures: the measurements; names end in their unit.
        config: what they were measured with.
        folder: made where it is absent.
    """
    now = datetime.now(timezone.utc)
    commit = _commit()
    data = {
        "theme": theme,
        "time": now.isoformat(timespec="seconds"),
        "commit": commit,
        "machine": describe_machine(),
        "config": dict(config),
        "figures": dict(figures),
    }
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{theme}_{platform.machine()}-{os.cpu_count()}core_{now:%Y%m%d}_{commit}.json"
    path = folder / name
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return path


def describe_machine() -> dict[str, object]:
    """Processor, cores, memory, system and the versions of the libraries in use."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "governor": _first_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def _cpu_model() -> str:
    for line in (_first_text("/proc/cpuinfo") or "").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


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


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
