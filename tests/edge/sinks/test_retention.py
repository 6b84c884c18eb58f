"""What is deleted by age and by size."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from edge.sinks.retention import Retention

OWN = re.compile(r"shot\d\.png")


def shots(folder: Path) -> list[str]:
    for number in range(5):
        path = folder / f"shot{number}.png"
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - 86_400 * (5 - number),) * 2)
    (folder / "holiday.png").write_bytes(bytes(10_000))
    os.utime(folder / "holiday.png", (0, 0))
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(), "01234"),
        (Retention.of(None, None), "01234"),
        (Retention.of(2.5, None), "34"),
        (Retention.of(0.5, None), ""),
        (Retention.of(None, 0.0035), "234"),
        (Retention.of(None, 0.0001), "4"),
        (Retention.of(1.5, 0.0035), "4"),
    ],
)
def test_the_oldest_of_ones_own_go(tmp_path: Path, retention: Retention, kept: str) -> None:
    shots(tmp_path)
    retention.apply(tmp_path, OWN)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["holiday.png", *(f"shot{number}.png" for number in kept)]


def test_what_lasts_stays_and_an_absent_folder_is_no_error(tmp_path: Path) -> None:
    shots(tmp_path)
    Retention.of(1.5, None).apply(tmp_path, OWN, lambda path: path.name == "shot1.png")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["holiday.png", "shot1.png", "shot4.png"]
    Retention.of(1.5, None).apply(tmp_path / "none", OWN)
