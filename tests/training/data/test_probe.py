from __future__ import annotations

import struct
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.errors import MissingDependency
from tests.training.pictures import smooth_noise
from training.data.probe import perceptual_hash, probe


def _png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 64))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))
    return path


def _saved(path: Path, mode: str = "RGB", **options: object) -> Path:
    PillowImage.new(mode, (40, 30)).save(path, **options)  # type: ignore[arg-type]  # any option
    return path


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(MissingDependency, match=r"imagehash is needed .*patchwatch\[train\]"):
        perceptual_hash(np.zeros((32, 32, 3), np.uint8))


def test_a_sound_file_tells_size_and_format_by_content(tmp_path: Path) -> None:
    PillowImage.new("RGB", (40, 30)).save(tmp_path / "a.jpg", format="PNG")
    known = probe(tmp_path / "a.jpg", hashed=False)
    assert (known.width, known.height, known.format) == (40, 30, "PNG")
    assert not known.fault and known.phash is None and not known.note


def test_odd_files_can_be_used_and_are_noted(tmp_path: Path) -> None:
    frames = [PillowImage.new("L", (40, 30), grey) for grey in (0, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    deep = PillowImage.fromarray(np.zeros((30, 40), np.uint16))
    deep.save(tmp_path / "deep.png")
    files = {
        "animated": tmp_path / "a.gif",
        "CMYK": _saved(tmp_path / "c.jpg", "CMYK"),
        "16 bit": tmp_path / "deep.png",
    }
    for note, path in files.items():
        known = probe(path, hashed=True)
        assert known.note.startswith(note) and not known.fault
        assert known.phash is not None


def test_damaged_files_have_a_fault_and_never_raise(tmp_path: Path) -> None:
    whole = _saved(tmp_path / "whole.png").read_bytes()
    faults = {}
    for name, content in {"empty": b"", "cut": whole[:-30], "text": b"no picture"}.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        faults[name] = probe(tmp_path / f"{name}.png", hashed=True).fault
    assert faults["empty"] == "the file is empty (0 bytes)."
    assert "truncated" in faults["cut"] and "not a picture" in faults["text"]


@pytest.mark.parametrize("size", [(100_000, 10), (100_000, 100_000), (13_000, 13_000)])
def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    path = _png_header(tmp_path / "huge.png", *size)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fault = probe(path, hashed=True).fault
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "larger than" in fault or "more than 179 million" in fault
    assert peak < 10_000_000


def test_the_hash_stays_near_under_compression_and_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, other = (
        np.asarray(PillowImage.fromarray(smooth_noise(rng, 96)).resize((160, 120)))
        for _ in range(2)
    )
    PillowImage.fromarray(image[:, :, ::-1]).resize((80, 60)).save(tmp_path / "s.jpg", quality=75)
    again = probe(tmp_path / "s.jpg", hashed=True).phash
    assert again is not None
    assert (again ^ perceptual_hash(image)).bit_count() <= 4
    assert (again ^ perceptual_hash(other)).bit_count() > 12
