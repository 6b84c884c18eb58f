from __future__ import annotations

import resource
from pathlib import Path

import pytest

from edge.errors import SinkError
from training.board import Board

loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")


def _events(folder: Path) -> list[tuple[int, str]]:
    files = sorted(folder.iterdir())
    events = [event for path in files for event in loader.EventFileLoader(str(path)).Load()]
    return [(event.step, event.WhichOneof("what")) for event in events]


def test_the_library_reads_what_was_added(tmp_path: Path) -> None:
    board = Board(tmp_path / "board", 0)
    board.add("loss", 0.5, 1)
    board.flush()
    assert _events(tmp_path / "board") == [(0, "file_version"), (1, "summary")]
    board.close()


def test_a_resumed_run_hides_what_came_later(tmp_path: Path) -> None:
    Board(tmp_path, 7).close()
    assert _events(tmp_path) == [(0, "file_version"), (8, "session_log")]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    board = Board(tmp_path, 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(SinkError, match="cannot be written: File too large"):
            for step in range(1000):
                board.add("loss", 0.5, step)
        board.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
