"""How many CPUs this process may use: affinity and the quota of a container leave fewer."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


class Cpus(NamedTuple):
    """How many may be used, how many there are, and what leaves fewer; "" where nothing does."""

    usable: int
    present: int
    limit: str = ""

    def __str__(self) -> str:
        return f"{self.usable} of {self.present}{f' ({self.limit})' if self.limit else ''}"


def find_cpus(cgroups: Path = _CGROUPS, own: Path = _OWN) -> Cpus:
    """What this process may use; a part of a CPU counts as one.

    Args:
        cgroups: where the control groups of the system are mounted.
        own: names those of this process.
    """
    present = os.cpu_count() or 1
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    found = (quota for group in groups("cpu", cgroups, own) for quota in _quota(group))
    quota = min(found, default=math.inf)
    if quota < free:
        return Cpus(math.ceil(quota), present, f"the quota of the container is {quota:g} CPUs")
    return Cpus(free, present, "by its affinity" if free < present else "")


def thread_limit() -> int | None:
    """How many threads are useful; None where every CPU may be used, which libraries find out."""
    cpus = find_cpus()
    return cpus.usable if cpus.limit else None


def groups(controller: str, cgroups: Path = _CGROUPS, own: Path = _OWN) -> Iterator[Path]:
    """The folders of this process's control group and those above it, in version 1 or 2."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            # A container may see its own group as the root, under the name that it has outside.
            group = Path(name.lstrip("/"))
            yield from (cgroups / controllers / folder for folder in (group, *group.parents))


def _quota(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        yield int(quota) / int(period)  # "max" is no number, and no limit
    with suppress(OSError, ValueError):
        quota, period = ((folder / f"cpu.cfs_{k}_us").read_text() for k in ("quota", "period"))
        if int(quota) > 0:
            yield int(quota) / int(period)
