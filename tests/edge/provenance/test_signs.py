"""What does not fit the EXIF of a camera is remarked, and nothing else is."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.provenance import read_provenance
from edge.provenance.signs import libjpeg_quality
from tests.edge.provenance.files import exif, picture, segment


def remarks(path: Path) -> list[str]:
    found = read_provenance(path, thumbnail=True)
    assert all(c.surety == "observed" for c in found.claims if c.kind == "remark")
    return [claim.value for claim in found.claims if claim.kind == "remark"]


def with_thumbnail(path: Path, small: PillowImage.Image) -> Path:
    """A photograph with a small picture in its EXIF."""
    data = io.BytesIO()
    small.save(data, "JPEG")
    jpeg = data.getvalue()

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, count, value)

    # "Cam" and "1.0" stand in the entries themselves.
    first = b"\2\0" + entry(0x10F, 2, 4, 0x6D6143)
    first += entry(0x131, 2, 4, 0x302E31) + struct.pack("<I", 38)
    second = b"\2\0" + entry(0x201, 4, 1, 68) + entry(0x202, 4, 1, len(jpeg))
    tiff = b"II*\0" + struct.pack("<I", 8) + first + second + bytes(4) + jpeg
    picture().save(path)
    plain = path.read_bytes()
    path.write_bytes(plain[:2] + segment(0xE1, b"Exif\0\0" + tiff) + plain[2:])
    return path


def test_a_thumbnail_of_another_picture_is_remarked(tmp_path: Path) -> None:
    own, other = picture(60, 80), picture(60, 80, seed=7)
    assert remarks(with_thumbnail(tmp_path / "own.jpg", own)) == []
    (remark,) = remarks(with_thumbnail(tmp_path / "other.jpg", other))
    assert "another picture" in remark


def test_bars_around_a_thumbnail_are_no_other_picture(tmp_path: Path) -> None:
    wide = PillowImage.fromarray(np.zeros((60, 120, 3), np.uint8))
    wide.paste(picture(60, 80), (20, 0))
    assert remarks(with_thumbnail(tmp_path / "p.jpg", wide)) == []


def test_a_thumbnail_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    path = with_thumbnail(tmp_path / "p.jpg", picture(60, 80))
    data = path.read_bytes()
    at = data.index(b"\xff\xd8\xff", 10)
    path.write_bytes(data[:at] + bytes(40) + data[at + 40 :])
    assert remarks(path) == []


def test_sizes_that_do_not_fit_are_remarked(tmp_path: Path) -> None:
    for height, width, count in ((96, 128, 0), (128, 96, 0), (3000, 4000, 1)):
        made = exif(Make="Canon", Software="1.8", ExifImageWidth=width, ExifImageHeight=height)
        picture().save(tmp_path / "p.jpg", exif=made)
        found = remarks(tmp_path / "p.jpg")
        assert len(found) == count, found
    assert "4000×3000 pixels, the picture has 128×96" in found[0]


def test_tables_of_libjpeg_in_a_photograph_are_remarked(tmp_path: Path) -> None:
    picture().save(tmp_path / "p.jpg", exif=exif(Make="Canon"), quality=83)
    (remark,) = remarks(tmp_path / "p.jpg")
    assert "libjpeg's at quality 83" in remark
    own = [[1 + (n * 7) % 60 for n in range(64)]] * 2
    picture().save(tmp_path / "q.jpg", exif=exif(Make="Canon"), qtables=own)
    assert remarks(tmp_path / "q.jpg") == []
    picture().save(tmp_path / "r.jpg", quality=83)
    assert remarks(tmp_path / "r.jpg") == []


@pytest.mark.parametrize("quality", [25, 50, 77, 95, 99])
def test_the_quality_of_a_table_is_that_it_was_made_with(tmp_path: Path, quality: int) -> None:
    picture().save(tmp_path / "p.jpg", quality=quality)
    from edge.provenance.blocks import find_blocks

    with (tmp_path / "p.jpg").open("rb") as file:
        tables = find_blocks(file, tmp_path / "p.jpg").tables
    assert libjpeg_quality(tables[0]) == quality
    assert libjpeg_quality(()) is None
