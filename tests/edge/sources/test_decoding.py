from __future__ import annotations

from collections.abc import Callable, Sequence
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
from edge.sources.streams import ClipCapture
from edge.types import Image
from patchwatch import main
from tests.edge.sources.clips import FPS, encode, number, numbered, numbered_image
from tests.edge.sources.staged import coded, hurt
from tests.fakes import grey
from tests.onnx_files import write_model


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


def changed(source: Path, path: Path, change: Callable[[int, bytes], bytes]) -> Path:
    """A copy of a film whose coded pictures are changed, each given by its place."""
    with av.open(str(source)) as film, av.open(str(path), "w") as container:
        track = container.add_stream_from_template(film.streams.video[0])
        for place, packet in enumerate(packet for packet in film.demux(video=0) if packet.size):
            new = av.Packet(change(place, bytes(packet)))
            new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
            new.is_keyframe, new.stream = packet.is_keyframe, track
            container.mux(new)
    return path


def hevc(path: Path) -> Path:
    pictures = (numbered_image(index, (352, 288)) for index in range(30))
    options = "log-level=none:keyint=10:min-keyint=10:bframes=0"
    return encode(path, pictures, codec="libx265", coding={"crf": "30", "x265-params": options})


def motion_jpeg(path: Path) -> Path:
    pictures = (numbered_image(index) for index in range(12))
    return encode(path, pictures, codec="mjpeg", pixels="yuvj420p", coding={"qscale": "3"})


def emptied(data: bytes) -> bytes:
    """As after a bad block of a disk."""
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def numbers_in(path: Path) -> tuple[list[int], int]:
    with open_recording(path) as source:
        found = [number(frame.image) for frame in source]
    return found, source.damaged


def test_hevc_that_its_decoder_would_conceal(tmp_path: Path) -> None:
    whole, told = hevc(tmp_path / "whole.mkv"), 0
    for hurt_at in range(11, 19):

        def empty(place: int, data: bytes, at: int = hurt_at) -> bytes:
            return emptied(data) if place == at else data

        found, skipped = numbers_in(changed(whole, tmp_path / "hurt.mkv", empty))
        assert len(found) + skipped == 30
        told += found == [*range(hurt_at), *range(20, 30)]
    assert told >= 5, "what is decoded without a word is no error to the decoder"


def test_hevc_whose_first_picture_is_damaged(tmp_path: Path) -> None:
    def empty(place: int, data: bytes) -> bytes:
        return data if place else emptied(data)

    film = changed(hevc(tmp_path / "whole.mkv"), tmp_path / "hurt.mkv", empty)
    assert numbers_in(film)[0] == list(range(10, 30)), "nothing that is predicted from it"


def test_a_damaged_picture_of_motion_jpeg(tmp_path: Path) -> None:
    def flip(place: int, data: bytes) -> bytes:
        half = len(data) // 2
        hurt = bytes(byte ^ 0x5A for byte in data[half : half + 60])
        return data[:half] + hurt + data[half + 60 :] if place == 7 else data

    film = changed(motion_jpeg(tmp_path / "whole.avi"), tmp_path / "hurt.avi", flip)
    assert numbers_in(film) == ([*range(7), *range(8, 12)], 1)


_CUT_SEI = b"\x4e\x01\x89\x40\x01\x02"
"""A message beside the picture that is shorter than it says: mastering display, of 64 bytes."""


def test_what_a_strict_decoder_refuses_throughout_is_odd_and_not_damaged(tmp_path: Path) -> None:
    def with_message(place: int, data: bytes) -> bytes:
        return len(_CUT_SEI).to_bytes(4, "big") + _CUT_SEI + data

    film = changed(hevc(tmp_path / "whole.mkv"), tmp_path / "odd.mkv", with_message)
    assert numbers_in(film) == (list(range(30)), 0)


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


def combed(image: Image) -> float:
    """How much neighbouring rows differ."""
    return float(np.abs(np.diff(image.astype(int), axis=0)).mean())


@pytest.mark.parametrize("live", [False, True])
def test_interlaced_frames_are_joined_of_their_fields_and_it_is_said(
    tmp_path: Path, live: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"tff{live}.mkv"
    bars = [np.full((96, 128, 3), 30, np.uint8) for _ in range(40)]
    for index, bar in enumerate(bars):  # moves to the right, fifty times a second
        bar[:, 4 + 2 * index : 24 + 2 * index] = 220
    woven = [first.copy() for first in bars[::2]]
    for frame, second in zip(woven, bars[1::2], strict=True):
        frame[1::2] = second[1::2]
    encode(path, woven, fps=25, coding={"crf": "5", "x264-params": "tff=1"})
    if live:
        capture = ClipCapture(path, str(path), loop=False, sleep=lambda _: None)
        shots = list(iter(capture.read, None))
        shown, indices = [shot.image() for shot in shots], list(range(20))
        assert [shot.pts_s for shot in shots] == pytest.approx([i / 25 for i in range(20)])
    else:
        with open_recording(path) as source:
            frames = list(source)
        shown, indices = [frame.image for frame in frames], [frame.index for frame in frames]
        assert [frame.pts for frame in frames] == pytest.approx([i / 25 for i in range(20)])
    assert len(shown) == 20 and indices == list(range(20))
    # The fields of a frame lie two pixels apart.
    assert max(combed(image) for image in shown[1:-1]) < 0.3 * combed(woven[5])
    nearest = [np.argmin([cv2.absdiff(image, bar).mean() for bar in bars[::2]]) for image in shown]
    assert nearest == list(range(20))
    assert caplog.messages == [f"{path}: interlaced; its fields are joined to frames (bwdif)"]


@pytest.mark.parametrize("rotated", [0, 90])
def test_pixels_that_are_not_square_are_judged_as_stored_and_shown_in_proportion(
    tmp_path: Path, rotated: int
) -> None:
    def anamorphic(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        if rotated:
            stream.set_display_rotation(rotated)

    clip = encode(tmp_path / "pal.mp4", [grey(120, 96, 110)] * 3, prepare=anamorphic)
    stored, shown = ((110, 96), (160, 96)) if rotated else ((96, 110), (96, 160))
    with open_recording(clip) as source:
        (frame, *_) = source
    assert (frame.size_hw, frame.shown_hw) == (stored, shown)
    shot = ClipCapture(clip, "pal", loop=False).read()
    assert shot is not None and shot.pixel_aspect == frame.pixel_aspect
    lines, out = tmp_path / "o.jsonl", tmp_path / "o.mp4"
    flags = ["--save", str(out), "--json", str(lines), "--images", str(tmp_path / "i")]
    model = write_model(tmp_path / "m.onnx")
    assert main(["run", str(clip), "--model", str(model), "--headless", *flags]) == 0
    for written in (out, next((tmp_path / "i").iterdir())):
        with open_recording(written) as source:
            assert next(iter(source)).shown_hw == shown
