from __future__ import annotations

from pathlib import Path

import pytest

from edge.tensorrt.board import Board, power_mode, read_board

ORIN = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n"
)


def board(root: Path, release: str | None, model: bytes | None) -> Board:
    if release is not None:
        (root / "etc").mkdir()
        (root / "etc/nv_tegra_release").write_text(release)
    if model is not None:
        (root / "proc/device-tree").mkdir(parents=True)
        (root / "proc/device-tree/model").write_bytes(model)
    return read_board(root)


def test_reads_a_jetson(tmp_path: Path) -> None:
    found = board(tmp_path, ORIN, b"NVIDIA Jetson Orin Nano Developer Kit\0")
    assert found == Board("NVIDIA Jetson Orin Nano Developer Kit", "36.4.3", "6.1 or 6.2")


@pytest.mark.parametrize(
    ("release", "revision", "l4t", "jetpack"),
    [
        ("35", "6.0", "35.6.0", "5.1"),
        ("36", "3.0", "36.3.0", "6.0"),
        ("36", "5", "36.5", "6.2"),
        ("38", "2.0", "38.2.0", "7.0"),
        ("38", "4.0", "38.4.0", "7.1"),
        ("39", "1.0", "39.1.0", "7.2"),
        ("41", "0.0", "41.0.0", None),
    ],
)
def test_names_the_jetpack_of_a_release(
    tmp_path: Path, release: str, revision: str, l4t: str, jetpack: str | None
) -> None:
    found = board(tmp_path, f"# R{release} (release), REVISION: {revision}, GCID: 1\n", None)
    assert (found.l4t, found.jetpack) == (l4t, jetpack)


def test_what_is_no_jetson_says_so(tmp_path: Path) -> None:
    assert board(tmp_path, None, None) == Board()
    assert board(tmp_path, "something else", b"Board").l4t is None


def test_the_power_mode_is_what_the_board_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / "nvpmodel"
    program.write_text('#!/bin/sh\n[ "$1" = -q ] && printf "NV Power Mode: 15W\\n"\n')
    program.chmod(0o755)
    assert power_mode() == "NV Power Mode: 15W"
    program.write_text("not a program")
    assert power_mode() is None
