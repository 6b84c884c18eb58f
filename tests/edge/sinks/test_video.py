from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from edge.errors import SinkError
from edge.sinks import video
from edge.sinks.recording import RecordingSink
from edge.sinks.video import canvas_hw, fit
from edge.types import Image, Result
from tests.edge.sinks.results import files_up_to, give, make_result, moving, plain

ROOT = Path(__file__).parents[3]
RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


def record(path: Path, results: Iterable[Result]) -> None:
    with RecordingSink(path) as sink:
        for result in results:
            give(sink, result)


def decode(path: Path) -> tuple[list[float], list[Image]]:
    """Times in seconds and BGR pictures."""
    times, pictures = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            times.append(frame.time)
            pictures.append(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8))
    return times, pictures


def nearest(picture: Image, originals: list[Image]) -> int:
    """Which of the originals a decoded picture is."""
    return int(np.argmin([cv2.absdiff(picture, original).mean() for original in originals]))


def length_s(path: Path) -> float:
    with av.open(str(path)) as container:
        assert container.duration is not None
        return container.duration / 1_000_000


def boxes(path: Path) -> list[str]:
    """The names of the outermost boxes of an mp4."""
    data, names = path.read_bytes(), []
    while data:
        names.append(data[4:8].decode("ascii"))
        data = data[int.from_bytes(data[:4], "big") :]
    return names


# One index and no fragments, as after a clean end.
PLAIN = ["ftyp", "free", "mdat", "moov"]
HYBRID = av.library_versions["libavformat"] >= (61, 7)
needs_hybrid = pytest.mark.skipif(not HYBRID, reason="needs PyAV with FFmpeg 7.1")


def clip(count: int, fps: float = 10.0, height: int = 96, width: int = 128) -> list[Result]:
    pictures = moving(height, width, count)
    return [make_result(image, i, "clip", pts=i / fps) for i, image in enumerate(pictures)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".MP4"])
def test_every_frame_comes_back_at_its_time(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    stamps = [0.0, 0.04, 0.2, 0.2, 0.1, 1.5, 1.6]  # what does not go forward goes on at once
    uneven = [0.0, 0.04, 0.2, 0.201, 0.202, 1.5, 1.6]
    pictures = list(moving(96, 128, len(uneven)))
    record(path, [make_result(p, pts=5 + at) for p, at in zip(pictures, stamps, strict=True)])
    times, back = decode(path)
    assert times == pytest.approx(uneven, abs=0.001)
    assert [nearest(picture, pictures) for picture in back] == list(range(len(uneven)))


LIVE = [make_result(index=i, captured_at=1.7e9 + i / 10) for i in range(4)]
STILLS = [make_result(index=i, source=f"{i}.jpg") for i in range(3)]


@pytest.mark.parametrize(
    ("results", "times", "seconds"),
    [(LIVE, [0, 0.1, 0.2, 0.3], 0.4), (STILLS, [0, 1, 2], 3), (STILLS[:1], [0], 1)],
    ids=["a camera by its capture time", "a second for each still", "a second for one"],
)
def test_how_long_pictures_are_shown(
    tmp_path: Path, results: list[Result], times: list[float], seconds: float
) -> None:
    path = tmp_path / "out.mp4"
    record(path, results)
    assert decode(path)[0] == pytest.approx(times, abs=0.001)
    assert length_s(path) == pytest.approx(seconds, abs=0.01)


@needs_hybrid
def test_is_what_a_browser_takes_and_ffprobe_finds_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    record(path, clip(30))
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.profile, codec.pix_fmt) == ("h264", "High", "yuv420p")
        assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (1, 1, 1)
        assert codec.color_range == 1
    assert boxes(path) == PLAIN
    if shutil.which("ffprobe") is None:
        pytest.skip("needs ffprobe")
    command = ["ffprobe", "-v", "warning", "-count_frames", "-show_streams", "-of", "json"]
    probe = subprocess.run([*command, str(path)], capture_output=True, check=True)
    (stream,) = json.loads(probe.stdout)["streams"]
    assert probe.stderr == b""
    assert (stream["nb_read_frames"], stream["nb_frames"]) == ("30", "30")
    assert float(stream["duration"]) == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE, (255, 255, 255), (30, 90, 200)])
def test_colours_match(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    path = tmp_path / "out.mp4"
    record(path, [make_result(plain(64, 64, colour))])
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray()
    assert planes[32, 32] == pytest.approx(bt709_luma(colour), abs=2)
    # Both decode by the marks from FFmpeg 8 on; before, they take every file for BT.601.
    by_the_marks = av.library_versions["libswscale"] >= (9,)
    capture = cv2.VideoCapture(str(path))
    backs: list[Any] = [decode(path)[1][0]] if by_the_marks else []
    backs += [capture.read()[1]] if cv2.__version__ >= "5" else []
    for back in backs:
        assert np.abs(back[32, 32].astype(int) - colour).max() <= 5
    capture.release()


def bt709_luma(bgr: tuple[int, int, int]) -> float:
    """ITU-R BT.709, limited range."""
    blue, green, red = bgr
    return 16 + 219 / 255 * (0.2126 * red + 0.7152 * green + 0.0722 * blue)


@pytest.mark.parametrize("hw", [(97, 131), (97, 128), (96, 131), (1, 1), (2, 3), (16, 3001)])
def test_odd_sides_are_padded_with_the_edge(tmp_path: Path, hw: tuple[int, int]) -> None:
    path = tmp_path / "out.mp4"
    record(path, [make_result(plain(*hw, (200, 200, 200)))])
    (picture,) = decode(path)[1]
    assert picture.shape[:2] == (hw[0] + hw[0] % 2, hw[1] + hw[1] % 2)
    assert np.abs(picture.astype(int) - 200).max() < 8


def test_another_size_is_letterboxed_into_the_first(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    first, tall = plain(100, 200, (0, 0, 0)), plain(400, 200, (255, 255, 255))
    record(path, [make_result(first), make_result(tall, 1, captured_at=1.7e9 + 1)])
    picture = decode(path)[1][1]
    assert picture.shape == (100, 200, 3)
    assert picture[50, 100].min() > 245
    assert picture[:, :70].max() < 10 and picture[:, 130:].max() < 10


@pytest.mark.parametrize(
    ("hw", "expected"),
    [
        ((720, 1280), (720, 1280)),
        ((2160, 3840), (2160, 3840)),
        ((3000, 8000), (1536, 4096)),
        ((6000, 4000), (3762, 2508)),
        ((1, 100_000), (2, 4096)),
    ],
)
def test_the_canvas_is_even_and_decodes_in_hardware(
    hw: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert canvas_hw(*hw) == expected
    assert fit(np.zeros((*hw, 3), np.uint8), expected).shape == (*expected, 3)


def test_a_picture_that_fits_is_not_copied() -> None:
    image = plain(10, 20, RED)
    assert fit(image, (10, 20)) is image
    assert fit(image[:, ::-1], (10, 20)).flags.c_contiguous


def test_a_keyframe_every_two_seconds_at_any_rate(tmp_path: Path) -> None:
    for fps, count in ((1, 8), (50, 250)):
        path = tmp_path / f"{fps}.mp4"
        record(path, clip(count, fps, 32, 32))
        with av.open(str(path)) as container:
            times = [
                float(packet.pts * packet.time_base)
                for packet in container.demux(video=0)
                if packet.is_keyframe and packet.pts is not None and packet.time_base is not None
            ]
        assert max(np.diff(times)) <= 2.0


def test_before_ffmpeg_7_1_the_file_stays_fragmented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(av.library_versions, "libavformat", (60, 16, 100))
    path = tmp_path / "out.mp4"
    record(path, clip(50))
    assert len(decode(path)[0]) == 50
    assert boxes(path)[:4] == ["ftyp", "moov", "moof", "mdat"]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, None])
def test_a_failure_at_the_end_does_not_hide_ctrl_c(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: type[BaseException] | None
) -> None:
    sink = RecordingSink(tmp_path / "out.mp4")
    with pytest.raises(ending or SinkError) as caught, files_up_to(10), sink:
        give(sink, make_result())
        if ending is not None:
            raise ending
    assert "largest size" in (caplog.text or str(caught.value))


def test_an_existing_file_stays_until_there_are_pictures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(RuntimeError), RecordingSink(path):
        raise RuntimeError
    assert caplog.text == ""
    for each in (path, tmp_path / "other.mp4"):
        record(each, [])
    assert "No picture came" in caplog.text
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"precious"
    record(path, clip(3))
    assert len(decode(path)[0]) == 3
    with pytest.raises(SinkError, match="is the source itself"):
        record(path, [make_result(source=str(path), pts=0.0)])
    assert len(decode(path)[0]) == 3


def test_a_name_that_looks_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record(Path("http:x%d.mp4"), clip(3))
    assert [path.name for path in tmp_path.iterdir()] == ["http:x%d.mp4"]


def test_a_build_without_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_ENCODER", "libx264_that_is_absent")
    with pytest.raises(SinkError, match=r"no H\.264 encoder"), RecordingSink(tmp_path / "out.mp4"):
        pass


def test_without_pyav_the_command_that_installs_it_is_named() -> None:
    script = "import sys; sys.modules['av'] = None; import edge.sinks.video"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "MissingDependency: PyAV is needed to write a video" in run.stderr
    assert "pip install av" in run.stderr
