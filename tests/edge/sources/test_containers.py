from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import CodecError
from edge.sources import open_recording
from edge.sources.containers import announced_size, is_cut
from tests.edge.sources.clips import cut, write_clip


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
def test_a_file_knows_its_own_size(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, 20)
    assert announced_size(path) == path.stat().st_size
    assert not is_cut(path)
    assert is_cut(cut(path, 0.9))


def test_a_large_box(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    box = struct.pack(">I4sQ", 1, b"mdat", 100)
    path.write_bytes(struct.pack(">I4sI4s", 16, b"ftyp", 0, b"isom") + box + bytes(84))
    assert announced_size(path) == 116 == path.stat().st_size


def test_matroska_that_was_recorded_live_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "live.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3\x82ab" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + bytes(50))
    assert announced_size(path) is None
    assert not is_cut(path)


@pytest.mark.parametrize("content", [b"", b"\0", b"RIFF\0\0\0\0AVI ", b"words" * 9])
def test_other_files_say_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert announced_size(path) is None


@given(noise=st.binary(max_size=40), at=st.integers(0, 800))
def test_no_bytes_break_it(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "hostile.mp4"
    if not (folder / "sound.mp4").exists():
        write_clip(folder / "sound.mp4", 5, faststart=True)
    data = (folder / "sound.mp4").read_bytes()
    path.write_bytes(data[:at] + noise + data[at + len(noise) :])
    is_cut(path)


@pytest.mark.parametrize(
    ("name", "known", "unknown"),
    [
        ("a.mp4", b"avc1", b"zq7x"),
        ("a.mov", b"avc1", b"zq7x"),
        ("a.mkv", b"V_MPEG4/ISO/AVC", b"V_ZQ7X4/ISO/AVC"),
        ("a.avi", b"H264", b"ZQ7X"),
    ],
)
def test_a_codec_that_nobody_knows_is_named(
    tmp_path: Path, name: str, known: bytes, unknown: bytes
) -> None:
    path = write_clip(tmp_path / name, 20)
    path.write_bytes(path.read_bytes().replace(known, unknown))
    with pytest.raises(CodecError, match=unknown.decode()), open_recording(path) as source:
        list(source)
