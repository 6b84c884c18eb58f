"""What a run that died left open is closed and marked at the next start."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from edge.errors import SinkError
from edge.files import write_whole

_log = logging.getLogger(__name__)

_STARTED_AT = 19  # field 22 of /proc/PID/stat, counted behind the name, in ticks since the boot


@cache
def run_id() -> str:
    """This process, unlike any that had or will have its number."""
    return f"{os.getpid()}-{_started(os.getpid()) or round(time.time())}"


def _started(pid: int) -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{boot}-{fields[_STARTED_AT]}"
    except (OSError, IndexError):
        return None


def is_running(run: object) -> bool:
    """Whether the process that called itself so runs still, as far as it can be seen from here."""
    pid, _, started = str(run).partition("-")
    return pid.isdecimal() and started != "" and _started(int(pid)) == started


def close_events(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Close the events of runs that died, and those with an id that is ours to close.

    Such an event ends when it was last known to last, and says `"interrupted": true`.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            text = path.read_text(encoding="utf-8")
            record = json.loads(text) if '"ended": null' in text else None
            if not isinstance(record, dict) or not ("run" in record and "began" in record):
                continue
            if is_running(record["run"]) and not is_ours(str(record.get("id"))):
                continue
            ended = record["began"] + record["duration_s"]
            record |= {"ended": round(ended, 3), "interrupted": True}
            write_whole(path, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
            _log.warning("%s: the run that raised it did not end it; it is closed now.", path)
        except (OSError, ValueError, TypeError, KeyError, SinkError) as error:
            _log.warning("%s: an event left open cannot be closed (%s).", path, error)
