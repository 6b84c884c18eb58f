from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from itertools import islice, pairwise
from pathlib import Path

import cv2
import pytest

from edge.errors import SourceError
from edge.sources import open_source
from edge.sources.live import CameraMode, configure, csi_pipeline, list_cameras
from edge.types import Frame, PixelFormat
from tests.edge.sources.clips import jpeg, nothing_left_behind, number, open_files, write_clip
from tests.servers import free_port, http_files, motion_jpeg, mute_server, rtsp_server


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 50)


def settle(threads: set[threading.Thread], files: set[str]) -> None:
    """Wait until no thread and no file is left that was not there before."""
    deadline = time.monotonic() + 5
    while not (set(threading.enumerate()) <= threads and open_files() <= files):
        assert time.monotonic() < deadline, (threading.enumerate(), open_files() - files)
        time.sleep(0.02)


def indices(frames: list[Frame]) -> list[int]:
    return [frame.index for frame in frames]


def test_rtsp_frames_arrive_with_rising_index(clip: Path) -> None:
    with rtsp_server(clip) as url:
        with nothing_left_behind(), open_source(url) as source:
            assert (source.name, source.kind, source.length) == (url, "live", None)
            frames = [frame for frame in islice(source, 40) if frame is not None]
        assert all(a < b for a, b in pairwise(indices(frames)))
        assert all(number(frame.image) == frame.index % 50 for frame in frames)
        assert {frame.pts for frame in frames} == {None}
        assert frames[0].image.shape == (64, 96, 3)


def test_a_slow_taker_gets_only_the_newest(clip: Path) -> None:
    with rtsp_server(clip) as url, open_source(url) as source:
        frames = []
        for frame in islice(source, 4):
            assert frame is not None
            assert time.time() - frame.captured_at < 0.3
            frames.append(frame)
            time.sleep(0.4)
    steps = [b - a for a, b in pairwise(indices(frames))]
    assert min(steps) >= 8


def test_the_end_of_an_rtsp_stream_is_an_error(clip: Path) -> None:
    with rtsp_server(clip, once=True) as url:
        taken: list[Frame | None] = []
        with pytest.raises(SourceError) as caught, open_source(url) as source:
            taken += source
        assert str(caught.value) == f"{url}: the stream ended."
        assert taken


def test_credentials_open_the_stream_and_are_shown_nowhere(
    clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with rtsp_server(clip, credentials="joe:hunt@2/er") as url:
        good, bad = (url.replace("//", f"//joe:hunt@2%2F{end}@") for end in ("er", "no"))
        with open_source(good) as source:
            frame = next(iter(source))
        assert frame is not None
        assert source.name == frame.source == url.replace("//", "//***@")
        with pytest.raises(SourceError, match="Check the address, the credentials") as caught:
            open_source(bad).__enter__()
    shown = f"{caught.value} {source!r} {caplog.text} {[t.name for t in threading.enumerate()]}"
    assert "hunt" not in shown
    assert "joe" not in shown


def test_a_refused_connection_is_told_at_once() -> None:
    began = time.monotonic()
    with (
        nothing_left_behind(),
        pytest.raises(SourceError, match=r"rtsp://\*\*\*@127.*: cannot be opened as a stream"),
        open_source(f"rtsp://joe:secret@127.0.0.1:{free_port()}/x"),
    ):
        pass
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_sender_that_never_answers_is_given_up(scheme: str) -> None:
    threads, files = set(threading.enumerate()), open_files()
    with mute_server() as port:
        began = time.monotonic()
        with (
            pytest.raises(SourceError, match=r"\*\*\*@.*no answer within 0\.5 s"),
            open_source(f"{scheme}://joe:secret@127.0.0.1:{port}/x", open_timeout_s=0.5),
        ):
            pass
        assert time.monotonic() - began < 2
    settle(threads, files)


def test_a_file_over_http_loses_no_frame(tmp_path: Path) -> None:
    write_clip(tmp_path / "late index.mp4", 50)
    with (
        http_files(tmp_path) as address,
        open_source(f"{address}/late%20index.mp4?token=hunter2") as source,
    ):
        assert (source.kind, source.length) == ("file", 50)
        frames = [frame for frame in source if frame is not None]
    assert [number(frame.image) for frame in frames] == list(range(50))
    assert [frame.pts for frame in frames] == pytest.approx([i / 30 for i in range(50)], abs=1e-3)
    assert source.name == f"{address}/late%20index.mp4?token=***"


def test_a_download_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    size = write_clip(tmp_path / "a.mp4", 50, faststart=True).stat().st_size
    taken: list[Frame | None] = []
    with (
        http_files(tmp_path, break_after=size // 2) as address,
        pytest.raises(SourceError, match=r"ended after \d+ of 50 announced frames"),
        open_source(f"{address}/a.mp4") as source,
    ):
        taken += source
    assert taken


def test_what_an_http_server_does_not_have(tmp_path: Path) -> None:
    with (
        http_files(tmp_path) as address,
        pytest.raises(SourceError, match="cannot be opened as a stream"),
        open_source(f"{address}/none.mp4"),
    ):
        pass


def test_motion_jpeg_is_live() -> None:
    with (
        motion_jpeg([jpeg(index) for index in range(10)]) as url,
        open_source(url) as source,
    ):
        assert (source.kind, source.length) == ("live", None)
        frames = [frame for frame in islice(source, 15) if frame is not None]
    assert all(number(frame.image) == frame.index % 10 for frame in frames)


def test_the_end_of_motion_jpeg_is_an_error() -> None:
    with (
        motion_jpeg([jpeg(index) for index in range(10)], loop=False, fps=100) as url,
        pytest.raises(SourceError, match=r"stream\.mjpg: the stream ended\."),
        open_source(url) as source,
    ):
        list(source)


def test_a_stalled_sender_gives_none_again_and_again_and_leaving_stays_quick() -> None:
    threads, files = set(threading.enumerate()), open_files()
    pictures = [jpeg(index) for index in range(10)]
    with motion_jpeg(pictures, then_stall=True, fps=100) as url:
        with open_source(url, frame_timeout_s=0.2) as source:
            frames = iter(source)
            while next(frames) is not None:
                pass
            began = time.monotonic()
            assert next(frames) is None
            assert 0.15 < time.monotonic() - began < 0.4
            began = time.monotonic()
        assert time.monotonic() - began < 2
    settle(threads, files)


def test_a_stream_that_stays_silent_has_ended() -> None:
    pictures = [jpeg(index) for index in range(10)]
    taken: list[Frame | None] = []
    with (
        motion_jpeg(pictures, then_stall=True, fps=100) as url,
        pytest.raises(SourceError, match=r"the stream ended; nothing came for \d s"),
        open_source(url, frame_timeout_s=0.4, read_timeout_s=1.2) as source,
    ):
        for frame in source:
            taken.append(frame)
    assert None in taken


def test_a_process_ends_while_a_read_blocks() -> None:
    script = (
        "import sys\n"
        "from edge.sources import open_source\n"
        "with open_source(sys.argv[1], frame_timeout_s=0.1) as source:\n"
        "    next(frame for frame in source if frame is None)\n"
    )
    with motion_jpeg([jpeg(0)] * 5, then_stall=True, fps=100) as url:
        done = subprocess.run(
            [sys.executable, "-c", script, url],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "rtsp_transport;tcp"),
        ("stimeout;1", "stimeout;1|rtsp_transport;tcp"),
        ("rtsp_transport;udp", "rtsp_transport;udp"),
    ],
)
def test_rtsp_stays_on_tcp_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    monkeypatch.setenv(name, given)
    with pytest.raises(SourceError), open_source(f"rtsp://127.0.0.1:{free_port()}/x"):
        pass
    assert os.environ[name] == expected


@pytest.mark.parametrize("text", ["97", "/dev/video97"])
def test_a_wrong_camera_tells_which_there_are(text: str) -> None:
    with (
        nothing_left_behind(),
        pytest.raises(SourceError) as caught,
        open_source(text),
    ):
        pass
    found = ", ".join(list_cameras()) or "none"
    assert str(caught.value) == f"camera 97 cannot be opened; cameras found: {found}."


class Settings:
    """Notes what a camera is asked for, in order; no machine of the tests has a camera."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []

    def set(self, setting: int, value: float) -> bool:
        self.asked.append((setting, value))
        return True


def test_a_camera_is_asked_for_mjpg_before_the_size() -> None:
    settings = Settings()
    configure(settings, CameraMode(1280, 720, 30))  # type: ignore[arg-type]  # only `set` is used
    assert settings.asked == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 30),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]


def test_a_camera_left_to_itself_is_only_asked_not_to_queue() -> None:
    settings = Settings()
    configure(settings, CameraMode())  # type: ignore[arg-type]  # only `set` is used
    assert settings.asked == [(cv2.CAP_PROP_BUFFERSIZE, 1)]


@pytest.mark.skipif(
    cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer"
)
def test_csi_without_gstreamer_says_which_opencv_is_needed() -> None:
    with (
        nothing_left_behind(),
        pytest.raises(SourceError, match=r"csi://0 needs an OpenCV built with GStreamer.*apt-get"),
        open_source("csi://0"),
    ):
        pass


def test_csi_wants_a_number() -> None:
    with pytest.raises(SourceError, match="expected csi://N"):
        open_source("csi://front")


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gst-launch-1.0")
@pytest.mark.parametrize("pixel_format", ["bgr", "nv12"])
def test_the_csi_pipeline_runs_with_stand_ins_for_the_elements_of_a_jetson(
    pixel_format: PixelFormat,
) -> None:
    text = csi_pipeline(0, CameraMode(320, 240, 30, pixel_format))
    assert ("format=BGR " in text) is (pixel_format == "bgr")
    assert "sensor-id=0" in text
    for jetson, ours in (
        ("nvarguscamerasrc sensor-id=0", "videotestsrc num-buffers=3"),
        ("(memory:NVMM)", ""),
        ("nvvidconv", "videoconvert"),
        ("sync=false", "sync=false wait-on-eos=false"),  # nobody takes the pictures here
    ):
        assert jetson in text
        text = text.replace(jetson, ours)
    command = ["gst-launch-1.0", "-q", *text.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
