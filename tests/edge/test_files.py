from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from edge.errors import SinkError
from edge.files import environment_cache, sink_error, write_all, write_whole, written_whole
from tests.edge.sinks.results import files_up_to


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    path, finished = tmp_path / "file", threading.Event()
    whole = {letter * 300_000 for letter in "abcdef"}
    seen: set[str] = set()

    def read() -> None:
        while not finished.is_set():
            if path.exists():
                seen.add(path.read_text(encoding="utf-8"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for text in sorted(whole) * 3:
            write_whole(path, text)
    finally:
        finished.set()
        reader.join(60.0)
    assert seen and seen <= whole
    assert names(tmp_path) == ["file"]


def test_a_file_can_be_read_by_others_and_its_folder_is_made(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "new" / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode) == 0o644


def test_what_is_there_stays_whole_when_writing_or_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with pytest.raises(SinkError, match="largest size allowed"), files_up_to(100):
        write_whole(path, b"new" * 100)
    with pytest.raises(KeyboardInterrupt), written_whole(path, b"new"):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_of_several_files_all_are_replaced_or_none(tmp_path: Path) -> None:
    write_all(tmp_path, {"a": b"1", "b": b"2"})
    (tmp_path / "c").mkdir()
    with pytest.raises(SinkError), files_up_to(100):
        write_all(tmp_path, {"a": b"3", "b": b"4" * 200})
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"1", b"2"]
    assert names(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("prefix", "base", "named", "kept"),
    [
        ("env", "python", "", "env/var/cache/patchwatch"),
        ("env", "python", "named", "named/patchwatch"),
        ("python", "python", "", "home/.cache/patchwatch"),
        ("absent", "python", "", "home/.cache/patchwatch"),
    ],
)
def test_what_holds_for_the_packages_is_kept_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, base: str, named: str, kept: str
) -> None:
    (tmp_path / "env").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / prefix))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / base))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", named and str(tmp_path / named))
    assert environment_cache() == tmp_path / kept


def test_why_a_file_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    full = sink_error(Path("out"), OSError(errno.ENOSPC, "No space left on device"))
    assert str(full) == (
        "out cannot be written: the disk is full. Free some space or write to another disk."
    )
    absent = sink_error(tmp_path / "no" / "out", OSError(errno.ENOENT, "No such file"))
    assert f"there is no folder {tmp_path / 'no'}." in str(absent)
    unusual = sink_error(Path("out"), OSError(errno.ELOOP, "Too many levels of symbolic links"))
    assert str(unusual) == "out cannot be written: Too many levels of symbolic links."
