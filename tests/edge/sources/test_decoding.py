from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.stream import VideoStream

from edge.errors import CodecError
from edge.sources import open_recording
from edge.types import Image
from tests.edge.sources.clips import FPS, encode, number, numbered
from tests.edge.sources.staged import coded, hurt


def write(
    path: Path,
    codec: str,
    pixels: str,
    size_wh: tuple[int, int],
    matrix: int | None = None,
    full_range: bool | None = None,
    rotated: int = 0,
) -> Path:
    """A clip of three coloured pictures, tagged with a matrix (ITU-T H.273) and a range."""

    def tag(stream: Any) -> None:
        if rotated:
            stream.set_display_rotation(rotated)
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if full_range is not None:
            stream.codec_context.color_range = 2 if full_range else 1

    coarse = np.random.default_rng(7).integers(0, 256, (3, 9, 13, 3)).astype(np.uint8)
    pictures = [cv2.resize(c, size_wh, interpolation=cv2.INTER_CUBIC) for c in coarse]
    return encode(path, pictures, codec=codec, pixels=pixels, coding={}, prepare=tag)


def by_opencv(address: str, count: int) -> list[Image]:
    capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG)
    images = [capture.read()[1] for _ in range(count)]
    capture.release()
    return images  # type: ignore[return-value]  # cv2's stubs do not know that it is uint8


def images(path: Path) -> list[Image]:
    with open_recording(path) as source:
        return [frame.image for frame in source]


_OLD = int(av.__version__.split(".")[0]) < 17 or int(cv2.__version__.split(".")[0]) < 5
_AGREED = pytest.mark.skipif(
    _OLD, reason="PyAV before 17 and OpenCV before 5 convert such pictures in ways of their own"
)
_TURNED = pytest.mark.skipif(
    not hasattr(VideoStream, "set_display_rotation"), reason="this PyAV cannot write such a clip"
)


@pytest.mark.parametrize(
    ("codec", "pixels", "size_wh", "matrix", "full_range"),
    [
        ("libx264", "yuv420p", (96, 64), None, None),
        ("libx264", "yuv420p", (1918, 1078), None, None),
        ("libx264", "yuvj420p", (96, 64), None, True),
        pytest.param("libx264", "yuv420p", (98, 66), 1, False, marks=_AGREED),
        pytest.param("libx264", "yuv420p", (96, 64), 1, True, marks=_AGREED),
        pytest.param("libx264", "yuv420p", (96, 64), 9, False, marks=_AGREED),
        ("libx264", "yuv422p", (96, 64), None, None),
        ("libx264", "yuv444p", (97, 65), None, None),
        pytest.param("libx264", "yuv420p10le", (96, 64), None, None, marks=_AGREED),
        pytest.param("libvpx-vp9", "yuv420p", (97, 65), 1, True, marks=_AGREED),
        pytest.param("mpeg4", "yuv420p", (97, 65), None, None, marks=_AGREED),
        ("mjpeg", "yuvj420p", (97, 65), None, True),
        ("mjpeg", "yuvj444p", (97, 65), None, True),
    ],
)
def test_levels_are_those_of_opencv(
    tmp_path: Path,
    codec: str,
    pixels: str,
    size_wh: tuple[int, int],
    matrix: int | None,
    full_range: bool | None,
) -> None:
    path = write(tmp_path / "clip.mkv", codec, pixels, size_wh, matrix, full_range)
    ours, theirs = images(path), by_opencv(str(path), 3)
    assert [image.shape for image in ours] == [(size_wh[1], size_wh[0], 3)] * 3
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == np.uint8
        assert our.flags.c_contiguous
        assert our.flags.writeable
        assert np.array_equal(our, their)


@_TURNED
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_clip_that_was_filmed_upright_stands_upright(tmp_path: Path, degrees: int) -> None:
    path = write(tmp_path / "clip.mp4", "libx264", "yuv420p", (96, 64), rotated=degrees)
    for our, their in zip(images(path), by_opencv(str(path), 3), strict=True):
        assert np.array_equal(our, their)


def _pq(levels: Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Code values 0..1 of SMPTE ST 2084 for 8-bit levels whose white is at 203 nits."""
    light = ((levels / 255) ** 2.4 * 203 / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * light) / (1 + 2392 / 128 * light)) ** (2523 / 32)


def test_hdr_is_mapped_to_the_tones_of_an_ordinary_screen(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(16, 240, 2, dtype=np.uint8), (64, 1))
    frame = av.VideoFrame(112, 64, "yuv420p10le")
    planes: list[Any] = [64 + 876 * _pq(ramp), 512, 512]
    for plane, levels in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : plane.width] = np.round(levels)
        plane.update(rows.tobytes())
    path = tmp_path / "pq.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 112, 64, "yuv420p10le"
        stream.options = {"crf": "1", "x264-params": "colorprim=bt2020:transfer=smpte2084"}
        codec = stream.codec_context
        codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range = 9, 16, 9, 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (image,) = images(path)
    raw = 255 * _pq(ramp)
    assert np.abs(raw - ramp).mean() > 15, "the levels differ"
    assert np.abs(image.mean(axis=2) - ramp).mean() < 6
    assert image.std(axis=2).max() <= 2, "grey stays grey"


def bitstream(path: Path, parts: Sequence[Sequence[tuple[float, Sequence[bytes]]]]) -> Path:
    """H.264 without a container."""
    units = [unit for part in parts for _, picture in part for unit in picture]
    path.write_bytes(b"".join(b"\0\0\0\1" + unit for unit in units))
    return path


def test_every_frame_keeps_its_size(tmp_path: Path) -> None:
    path = bitstream(tmp_path / "turned.h264", [coded(10), coded(10, (64, 96))])
    assert [image.shape for image in images(path)] == [(64, 96, 3)] * 10 + [(96, 64, 3)] * 10


def test_damaged_frames_are_skipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = bitstream(tmp_path / "damaged.h264", [hurt(coded(30), 13)])
    with open_recording(path) as source:
        frames = list(source)
    assert [number(frame.image) for frame in frames] == [*range(13), *range(20, 30)]
    assert [frame.index for frame in frames] == [*range(13), *range(20, 30)]
    assert source.failures == [f"{path}: 7 damaged frames were skipped."]
    assert "7 damaged frames were skipped" in caplog.text


def test_av1_whose_frames_are_lost_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libsvtav1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"preset": "12", "g": "10", "svtav1-params": "pred-struct=1:lp=1"}
        for index in range(30):
            for packet in stream.encode(numbered(index)):
                if packet.pts is not None and packet.pts * packet.time_base == Fraction(13, FPS):
                    data = bytes(packet)[:8] + bytes(packet.size - 8)
                    hole = av.Packet(data)
                    hole.pts, hole.dts, hole.time_base = packet.pts, packet.dts, packet.time_base
                    hole.stream, packet = stream, hole
                container.mux(packet)
        container.mux(stream.encode())
    with open_recording(path) as source:
        found = [round((frame.pts or 0) * FPS) for frame in source]
    assert found[:13] == list(range(13))
    assert 29 in found[13:]
    assert not {13, 14} & set(found), "the lost one, and what was predicted from it"


def _with_two_films(path: Path, cover: bool) -> Path:
    with av.open(str(path), "w") as container:
        short: Any = container.add_stream("mjpeg" if cover else "libx264", rate=FPS)
        short.width, short.height, short.pix_fmt = 32, 32, "yuvj420p" if cover else "yuv420p"
        film: Any = container.add_stream("libx264", rate=FPS)
        film.width, film.height, film.pix_fmt = 96, 64, "yuv420p"
        if cover:
            short.disposition = 0x400  # attached_pic
        for index in range(10):
            if index < (1 if cover else 3):
                container.mux(short.encode(numbered(index, (32, 32))))
            container.mux(film.encode(numbered(index)))
        container.mux([*short.encode(), *film.encode()])
    return path


@pytest.mark.parametrize("cover", [False, True])
def test_the_film_is_read_and_not_what_lies_beside_it(tmp_path: Path, cover: bool) -> None:
    path = _with_two_films(tmp_path / ("a.mp4" if cover else "a.mkv"), cover)
    assert [number(image) for image in images(path)] == list(range(10))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("mp2", rate=48_000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), "s16", "stereo")
        sound.sample_rate = 48_000
        container.mux([*audio.encode(sound), *audio.encode()])
    with pytest.raises(CodecError, match="no video track"), open_recording(path):
        pass
