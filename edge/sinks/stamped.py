"""Names of files that time tells apart: the parts of a recording, and events."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path

_YEAR_9999 = 253_000_000_000.0


def local_stamp(unix_s: float, layout: str = "%Y%m%d-%H%M%S") -> str:
    """Local time, as `YYYYmmdd-HHMMSS`; the present where a clock gave what is no date."""
    if not 0 <= unix_s < _YEAR_9999:
        unix_s = time.time()
    return time.strftime(layout, time.localtime(unix_s))


def free_name(folder: Path, base: str, suffixes: Sequence[str]) -> str:
    """The first of `base`, `base-2`, `base-3` … that no file has with any of the suffixes.

    A stamp comes twice where two fall into one second, or where a clock was set back.
    """
    names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
    return next(name for name in names if not _is_taken(folder, name, suffixes))


def _is_taken(folder: Path, name: str, suffixes: Sequence[str]) -> bool:
    return any(os.path.lexists(folder / f"{name}{suffix}") for suffix in suffixes)
