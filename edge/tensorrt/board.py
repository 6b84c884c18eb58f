"""Which board this is, as far as an engine depends on it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")

_JETPACK = {
    (35,): "5.1",
    (36, 3): "6.0",
    (36, 4): "6.1 or 6.2",
    (36, 5): "6.2",
    (38, 2): "7.0",
    (38, 4): "7.1",
    (39,): "7.2",
}
"""L4T release, or its beginning → JetPack."""


@dataclass(frozen=True, slots=True)
class Board:
    """What the system says of the machine; every part may be unknown: the board, for instance
    "NVIDIA Jetson Orin Nano Developer Kit", the release of Linux for Tegra, "36.4.3", and JetPack.
    """

    model: str | None = None
    l4t: str | None = None
    jetpack: str | None = None


def read_board(root: Path = Path("/")) -> Board:
    """Read the board below a root folder (`/` but in tests)."""
    release = _read(root / "etc/nv_tegra_release")
    match = _RELEASE.search(release or "")
    l4t = f"{match[1]}.{match[2]}" if match else None
    numbers = tuple(int(part) for part in l4t.split(".")) if l4t else ()
    jetpack = _JETPACK.get(numbers[:2]) or _JETPACK.get(numbers[:1])
    model = _read(root / "proc/device-tree/model")
    return Board(model.strip("\0 \n") if model else None, l4t, jetpack)


def power_mode() -> str | None:
    """What `nvpmodel -q` says; None where there is no such program."""
    try:
        command = ("nvpmodel", "-q")
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
