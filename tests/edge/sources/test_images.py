from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from edge.errors import SourceError
from edge.sources import open_recording
from edge.sources.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_image, read_image

RANDOM = np.random.default_rng(0)


def colours(height: int = 30, width: int = 40) -> npt.NDArray[np.uint8]:
    """RGB, the left half red and the right half blue."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2, 0] = 200
    rgb[:, width // 2 :, 2] = 200
    return rgb


def assert_red_then_blue(image: npt.NDArray[np.uint8], off: int = 3) -> None:
    assert image.shape == (30, 40, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    for x, bgr in ((5, (0, 0, 200)), (35, (200, 0, 0))):
        assert np.abs(image[15, x].astype(int) - bgr).max() <= off


@pytest.mark.parametrize(
    ("name", "mode", "off"),
    [
        ("a.png", "RGB", 0),
        ("a.bmp", "RGB", 0),
        ("a.tif", "RGB", 0),
        ("a.ppm", "RGB", 0),
        ("a.jpg", "RGB", 3),
        ("cmyk.jpg", "CMYK", 3),
        ("cmyk.tif", "CMYK", 0),
        ("a.webp", "RGB", 12),
        ("rgba.webp", "RGBA", 12),
        ("rgba.png", "RGBA", 0),
        ("palette.png", "P", 4),
        ("a.gif", "P", 4),
        ("a.jp2", "RGB", 12),
    ],
)
def test_colour_of_every_kind(tmp_path: Path, name: str, mode: str, off: int) -> None:
    PillowImage.fromarray(colours()).convert(mode).save(tmp_path / name)
    assert_red_then_blue(read_image(tmp_path / name), off)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str) -> None:
    grey = np.full((6, 5), 255, np.uint8)
    PillowImage.fromarray(grey).convert(mode).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert image.shape == (6, 5, 3)
    assert (image == 255).all()


@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.pgm", "colour.png", "alpha.png"])
def test_of_16_bits_the_upper_8_are_kept(tmp_path: Path, name: str) -> None:
    channels = {"grey": 1, "colour": 3, "alpha": 4}[name.split(".")[0]]
    deep = RANDOM.integers(0, 1 << 16, (9, 7, channels), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / name), deep)
    expected = np.broadcast_to(deep[..., :3] >> 8, (9, 7, 3))
    # Pillow scales a PGM to its own range, which may round.
    assert np.abs(read_image(tmp_path / name).astype(int) - expected).max() <= (".pgm" in name)


def test_transparency_is_dropped_not_blended(tmp_path: Path) -> None:
    rgba = np.dstack([colours(), np.zeros((30, 40), np.uint8)])
    PillowImage.fromarray(rgba).save(tmp_path / "clear.png")
    assert_red_then_blue(read_image(tmp_path / "clear.png"), 0)
    palette = PillowImage.fromarray(colours()).convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 128, 255]))
    assert_red_then_blue(read_image(tmp_path / "palette.png"), 4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_that_which_a_person_sees(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    """The four corners of an upright picture are told apart, however it was stored."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = 60, 120, 180
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    stored = PillowImage.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    stored.save(tmp_path / f"turned.{suffix}", exif=exif)
    image = read_image(tmp_path / f"turned.{suffix}")
    assert image.shape == upright.shape
    for y, x in ((8, 12), (8, 36), (24, 12), (24, 36)):
        assert abs(int(image[y, x, 0]) - int(upright[y, x, 0])) < 10


def test_broken_metadata_does_not_cost_the_picture(tmp_path: Path) -> None:
    PillowImage.fromarray(colours()).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert_red_then_blue(read_image(tmp_path / "a.jpg"))


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path, name: str) -> None:
    first, second = PillowImage.fromarray(colours()), PillowImage.new("RGB", (40, 30), "white")
    first.save(tmp_path / name, save_all=True, append_images=[second], duration=50, lossless=True)
    assert_red_then_blue(read_image(tmp_path / name))


def test_an_undamaged_jpeg_gives_the_same_bytes_as_opencv(tmp_path: Path) -> None:
    smooth = cv2.resize(RANDOM.integers(0, 256, (12, 16, 3), np.uint8), (317, 211))
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth)
    opencv = cv2.imread(str(tmp_path / "a.jpg"))
    assert opencv is not None
    assert (read_image(tmp_path / "a.jpg") == opencv).all()


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "PROGRESSIVE", "LZW"]
)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.97])
def test_a_truncated_picture_is_never_half_a_picture(
    tmp_path: Path, kind: str, share: float
) -> None:
    noise = PillowImage.fromarray(RANDOM.integers(0, 256, (64, 64, 3), np.uint8))
    buffer = io.BytesIO()
    if kind == "PROGRESSIVE":
        noise.save(buffer, "JPEG", progressive=True)
    elif kind == "LZW":
        noise.save(buffer, "TIFF", compression="tiff_lzw")
    else:
        noise.save(buffer, kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
    with pytest.raises(SourceError, match=r"cut\.jpg: (the picture is trunc|not a picture)"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"these are words", "not a picture that can be decoded. Expected JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture that can be decoded"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_image(path)


def test_missing_picture_and_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(SourceError, match="directory"):
        read_image(tmp_path)


def huge_png(path: Path, side: int) -> Path:
    """A PNG that claims to be side × side and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (60_000, r"more than 179 million pixels\. Crop or shrink it"),
        (10_000, "truncated or damaged"),  # no bomb, though Pillow would warn of it
    ],
)
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, side: int, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        read_image(huge_png(tmp_path / "huge.png", side))


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    PillowImage.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(SourceError, match=r"8 or 16 bits.*found Pillow's mode F"):
        read_image(tmp_path / "f.tif")


def test_suffixes() -> None:
    assert is_image("A.JPG")
    assert is_image(Path("x/y.webp"))
    assert not is_image("clip.mp4")
    assert not is_image("README")
    assert not IMAGE_SUFFIXES & VIDEO_SUFFIXES


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_picture_without_a_suffix_is_not_taken_for_a_video(tmp_path: Path, kind: str) -> None:
    """FFmpeg would decode it too, to other pixels."""
    path = tmp_path / "upload"
    PillowImage.fromarray(colours()).save(path, kind)
    with open_recording(path) as source:
        (frame,) = source
    assert source.kind == "stills"
    assert (frame.image == read_image(path)).all()
