"""What a picture needs of this machine's memory: what would not fit is refused before it is tried.

A process that takes too much is killed without a word, and takes what it has written with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

from edge.backends.base import MAX_BATCH, Backend, FrameBackend
from edge.cpus import groups
from edge.errors import RegionError

_BYTES = {"tiny_ladeda": 110}
_USUAL_BYTES = 240
"""For a pixel that the model sees, measured on ONNX Runtime: 104 with Tiny-LaDeDa, 216 with Lite0
and 239 with its model of faces; OpenVINO takes less."""

_MOST_BYTES = 6e9
_SHARE = 0.8  # of what is available
_ALWAYS_BYTES = 0.5e9
"""What takes less is not asked about."""

_MEMINFO = Path("/proc/meminfo")
_largest: WeakKeyDictionary[Backend, int] = WeakKeyDictionary()
"""Pixels that a backend has seen at once: their memory is its own, and no longer available."""


def refuse_huge(backend: Backend, height: int, width: int) -> None:
    """Refuse a picture for which the memory does not suffice; a GPU has its own.

    Args:
        backend: that is to see it.
        height: of what it sees, in pixels, as is `width`.

    Raises:
        RegionError: says how much it takes, and what to do.
    """
    pixels, needs = height * width, height * width * _bytes(backend)
    if needs <= _ALWAYS_BYTES or isinstance(backend, FrameBackend):
        return
    if pixels <= _largest.get(backend, 0):
        return
    if needs > (there := _available()):
        raise RegionError(
            f"{width}×{height} pixels at once take {backend.manifest.name} about {needs / 1e9:.1f} "
            f"GB of memory, and at most {there / 1e9:.1f} GB may be used. Choose fewer pixels with "
            "--region, for instance fit:720 or tiles:512."
        )
    _largest[backend] = pixels


def largest_batch(backend: Backend, height: int, width: int) -> int:
    """How many pictures of a size the model may see at once, from 1 to `MAX_BATCH`."""
    each = height * width * _bytes(backend)
    if each * MAX_BATCH <= _ALWAYS_BYTES:
        return MAX_BATCH
    return max(1, min(MAX_BATCH, int(_available() / 2 / each)))


def _bytes(backend: Backend) -> int:
    return _BYTES.get(backend.manifest.architecture, _USUAL_BYTES)


def available_bytes() -> int | None:
    """Memory that programs can have, with what the system would give back for it; None if unknown.

    Where CPU and GPU share their memory CUDA reports as free only what nothing uses at all.
    """
    with suppress(OSError):
        match = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(), re.MULTILINE)
        return int(match[1]) << 10 if match else None
    return None


def _available() -> float:
    found = [available_bytes(), *(left for group in groups("memory") for left in _left_in(group))]
    return max(0.0, min([_MOST_BYTES, *(_SHARE * left for left in found if left is not None)]))


def _left_in(group: Path) -> Iterator[int]:
    """What a control group may still take; its cache of files that nobody uses is given up."""
    for most, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            limit, taken = (int((group / name).read_text()) for name in (most, used))
            lines = (group / "memory.stat").read_text().splitlines()
            yield limit - taken + int(dict(line.split() for line in lines).get(cache, 0))
