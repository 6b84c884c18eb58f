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
from edge.sources import images, open_recording
from edge.sources.images import read_image
from edge.sources.policy import Selection

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
    deep[..., 3:] = 0xFFFF
    cv2.imwrite(str(tmp_path / name), deep)
    expected = np.broadcast_to(deep[..., :3] >> 8, (9, 7, 3))
    # Pillow scales a PGM to its own range, which may round.
    assert np.abs(read_image(tmp_path / name).astype(int) - expected).max() <= (".pgm" in name)


@pytest.mark.parametrize("name", ["rgba.png", "rgba.webp", "rgba.tif", "p.png", "p.gif", "la.png"])
def test_what_is_transparent_shows_white_whatever_is_hidden_there(
    tmp_path: Path, name: str
) -> None:
    kind, suffix = name.split(".")
    seen = []
    for hidden in (0, 90, 200):
        grey = np.full((30, 40), hidden, np.uint8)
        grey[:, :20] = 60  # the left half is opaque
        alpha = np.zeros((30, 40), np.uint8)
        alpha[:, :20] = 255
        picture = PillowImage.fromarray(np.dstack([grey, grey, grey, alpha]))
        path = tmp_path / f"{hidden}.{suffix}"
        if kind == "p":
            PillowImage.fromarray(grey).convert("P").save(path, transparency=hidden)
        else:
            picture.convert(kind.upper()).save(path, lossless=True, exact=True)
        seen.append(read_image(path))
    assert (seen[0] == seen[1]).all() and (seen[0] == seen[2]).all()
    assert (seen[0][:, :20] == 60).all() and (seen[0][:, 20:] == 255).all()


def test_a_half_transparent_picture_is_half_white(tmp_path: Path) -> None:
    rgba = np.full((4, 4, 4), (0, 100, 200, 128), np.uint8)
    PillowImage.fromarray(rgba).save(tmp_path / "half.png")
    assert np.abs(read_image(tmp_path / "half.png")[0, 0].astype(int) - (227, 177, 127)).max() <= 1
    for mode, clear in (("L", 7), ("RGB", (7, 7, 7)), ("I;16", 7 << 8)):
        level = np.full((4, 4, 3), 7, np.uint8) if mode == "RGB" else np.full((4, 4), 7, np.uint8)
        deep = level.astype(np.uint16) << 8 if mode == "I;16" else level
        PillowImage.fromarray(deep).save(tmp_path / "keyed.png", transparency=clear)
        assert (read_image(tmp_path / "keyed.png") == 255).all()


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


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif", "tif"])
def test_an_animation_is_a_clip(tmp_path: Path, suffix: str) -> None:
    path, levels = tmp_path / f"moving.{suffix}", [40, *[220] * 19]
    first, *rest = (PillowImage.new("RGB", (40, 30), (level,) * 3) for level in levels)
    first.putpixel((0, 0), (41, 40, 40))
    rest = [picture.copy() for picture in rest]
    for index, picture in enumerate(rest):  # encoders join pictures that are equal
        picture.putpixel((index, 0), (255, 0, 0))
    first.save(path, save_all=True, append_images=rest, duration=50)
    assert abs(int(read_image(path)[20, 20, 0]) - 40) <= 2
    with open_recording(path) as source:
        assert (source.kind, source.length) == ("file", 20)
        frames = list(source)
    step_s = 1.0 if suffix == "tif" else 0.05
    assert [frame.pts for frame in frames] == pytest.approx([step_s * i for i in range(20)])
    shown = [int(frame.image[20, 20, 0]) for frame in frames]
    assert shown == pytest.approx(levels, abs=2)
    with open_recording(path, selection=Selection(5, step_s * 4, step_s * 12)) as source:
        assert [frame.index for frame in source] == [5, 10]
    with open_recording(tmp_path) as folder:  # among other pictures each is one of them
        assert (folder.kind, sum(1 for _ in folder)) == ("stills", 20)


def test_further_pictures_of_a_photograph_are_no_animation(tmp_path: Path) -> None:
    large, small = (PillowImage.new("RGB", wh, "red") for wh in ((64, 48), (32, 24)))
    large.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[small])
    large.save(tmp_path / "one.gif", save_all=True)
    for path in tmp_path.iterdir():
        with open_recording(path) as source:
            assert (source.kind, sum(1 for _ in source)) == ("stills", 1)


def test_an_animation_that_is_cut_ends_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.webp"
    noise = [PillowImage.fromarray(RANDOM.integers(0, 256, (64, 64, 3), np.uint8)) for _ in "abcd"]
    noise[0].save(path, save_all=True, append_images=noise[1:])
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(SourceError, match="truncated or damaged"), open_recording(path) as source:
        list(source)


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
    with pytest.raises(SourceError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(SourceError, match="directory"):
        read_image(tmp_path)


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """One chunk of a PNG."""
    body = kind + data
    checksum = zlib.crc32(body) if checksum is None else checksum
    return struct.pack(">I", len(data)) + body + struct.pack(">I", checksum)


def huge_png(path: Path, side: int) -> Path:
    """A PNG that claims to be side × side and holds next to nothing."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def stored(kind: str, **options: object) -> bytes:
    """Noise of 64×48 pixels as a file."""
    noise = PillowImage.fromarray(RANDOM.integers(0, 256, (48, 64, 3), np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, kind, **options)
    return buffer.getvalue()


PNG, JPEG, PROGRESSIVE = stored("PNG"), stored("JPEG"), stored("JPEG", progressive=True)
MUCH = zlib.compress(bytes(100 << 20))
BESIDE_PIXELS = {
    "much compressed text": chunk(b"zTXt", b"workflow\0\0" + MUCH),
    "much international text": chunk(b"iTXt", b"workflow\0\1\0\0\0" + MUCH),
    "many texts": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 80,
    "a large profile": chunk(b"iCCP", b"sRGB\0\0" + MUCH),
    "text with a wrong checksum": chunk(b"tEXt", b"a\0b", 7),
    "gamma with a wrong checksum": chunk(b"gAMA", b"\0\0\xb1\x8f", 7),
    "an unknown chunk with a wrong checksum": chunk(b"prIv", b"x", 7),
}


@pytest.mark.parametrize("what", BESIDE_PIXELS)
@pytest.mark.parametrize("at", [33, -12], ids=["before the pixels", "after them"])
def test_what_is_not_pixels_does_not_cost_a_png(tmp_path: Path, what: str, at: int) -> None:
    for name, data in (("a.png", PNG), ("b.png", PNG[:at] + BESIDE_PIXELS[what] + PNG[at:])):
        (tmp_path / name).write_bytes(data)
    assert (read_image(tmp_path / "b.png") == read_image(tmp_path / "a.png")).all()


@pytest.mark.parametrize(
    ("data", "like"),
    [
        (PNG[:-12], PNG),
        (JPEG[:-2], JPEG),
        (PROGRESSIVE[:-2], PROGRESSIVE),
        (JPEG + bytes(4000), JPEG),
        (JPEG[:-2] + bytes(7) + JPEG[-2:], JPEG),
        (JPEG + JPEG[: len(JPEG) // 2], JPEG),
    ],
    ids=["no IEND", "no end", "progressive, no end", "junk", "padding", "half a second picture"],
)
def test_a_picture_that_has_all_its_pixels_is_read(
    tmp_path: Path, data: bytes, like: bytes
) -> None:
    for name, content in (("a", data), ("b", like)):
        (tmp_path / name).write_bytes(content)
    assert (read_image(tmp_path / "a") == read_image(tmp_path / "b")).all()


@pytest.mark.parametrize("whole", [PNG, JPEG, PROGRESSIVE], ids=["PNG", "JPEG", "progressive"])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("how", ["overwritten", "cut, and an end put behind it"])
def test_damaged_pixels_are_refused(tmp_path: Path, whole: bytes, share: float, how: str) -> None:
    at = int(share * len(whole))
    end = whole[-12:] if whole is PNG else whole[-2:]
    data = whole[:at] + (end if "cut" in how else RANDOM.bytes(300) + whole[at + 300 :])
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(SourceError, match="the picture is truncated or damaged"):
        read_image(tmp_path / "a")


def test_heic_is_read_with_its_library_and_named_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    monkeypatch.setattr(images, "_known_formats", lambda: ("JPEG",))
    with pytest.raises(SourceError, match=r"HEIC is read only where.*pip install pillow-heif"):
        read_image(tmp_path / "a.heic")
    monkeypatch.undo()
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(PillowImage.fromarray(colours(120, 160))).save(tmp_path / "b.heic")
    assert read_image(tmp_path / "b.heic").shape == (120, 160, 3)


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_picture_without_a_suffix_is_not_taken_for_a_video(tmp_path: Path, kind: str) -> None:
    """FFmpeg would decode it too, to other pixels."""
    path = tmp_path / "upload"
    PillowImage.fromarray(colours()).save(path, kind)
    with open_recording(path) as source:
        (frame,) = source
    assert source.kind == "stills"
    assert (frame.image == read_image(path)).all()
