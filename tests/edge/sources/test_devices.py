from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import pytest

from edge.errors import (
    MissingDependency,
    NetworkError,
    NotFound,
    SourceEnded,
    SourceError,
    SourceTimeout,
)
from edge.sources import open_source
from edge.sources.devices import (
    PATIENCE,
    DeviceCapture,
    _told_format,
    csi_pipeline,
    has_board_decoder,
    matrix_of,
    open_camera,
    open_csi,
)
from edge.sources.live import LiveSource
from edge.sources.policy import CameraMode
from edge.types import Image, PixelFormat
from tests.edge.sources.clips import nothing_left_behind, number, write_clip
from tests.fakes import grey


class Camera:
    """Gives pictures as a test says (None: a failed read), and notes what it is asked for.

    No machine of the tests has a camera.
    """

    def __init__(self, *pictures: Image | None, opened: bool = True) -> None:
        self.asked: list[tuple[int, float]] = []
        self.values: dict[int, float] = {}
        self.reads = 0
        self._pictures: Iterator[Image | None] = iter(pictures)
        self._opened = opened

    def isOpened(self) -> bool:
        return self._opened

    def set(self, setting: int, value: float) -> bool:
        self.asked.append((setting, value))
        return True

    def get(self, setting: int) -> float:
        return self.values.get(setting, 0.0)

    def read(self) -> tuple[bool, Image | None]:
        self.reads += 1
        picture = next(self._pictures, None)
        return picture is not None, picture

    def release(self) -> None:
        self._opened = False


def capture_of(camera: Camera, **options: bool) -> DeviceCapture:
    return DeviceCapture(camera, "camera 3", **options)  # type: ignore[arg-type]  # stands for one


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lists cameras")
def test_a_wrong_camera_tells_which_there_are() -> None:
    with nothing_left_behind(), pytest.raises(NotFound) as caught:
        open_camera("/dev/video97", "camera 97", CameraMode())
    assert re.fullmatch(
        r"camera 97: there is no camera /dev/video97; found: (none|/dev/video.*)\. Check the .*",
        str(caught.value),
    )


def test_a_camera_that_is_there_and_gives_nothing_is_another_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Camera(opened=False))
    monkeypatch.setattr(os.path, "exists", lambda _: True)
    monkeypatch.setattr(os, "access", lambda *_: True)
    with pytest.raises(SourceError, match="Another program may hold it") as caught:
        open_camera("/dev/video3", "camera 3", CameraMode())
    assert caught.value.fault == "other"
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SourceError, match=r"may not open /dev/video3.*usermod -aG video"):
        open_camera("/dev/video3", "camera 3", CameraMode())


def test_a_real_capture_is_read_to_its_end(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    with nothing_left_behind():
        capture = DeviceCapture(cv2.VideoCapture(str(clip)), "camera 3")
        assert capture.fps == 30.0
        shots = [capture.read() for _ in range(5)]
        with pytest.raises(NetworkError, match="camera 3: no more pictures"):
            capture.read()
        capture.close()
        capture.close()
    assert [number(shot.image()) for shot in shots] == list(range(5))
    assert all(a.arrived_s <= b.arrived_s for a, b in pairwise(shots))
    assert shots[-1].arrived_s <= time.monotonic()
    assert {shot.pts_s for shot in shots} == {None}


def test_a_broken_picture_now_and_then_is_passed_over() -> None:
    gaps: Sequence[Image | None] = [None] * (PATIENCE - 1)
    capture = capture_of(Camera(grey(1), *gaps, grey(2), *gaps, grey(3)))
    assert [int(capture.read().image()[0, 0, 0]) for _ in range(3)] == [1, 2, 3]


def test_a_camera_that_was_unplugged_is_told_at_once() -> None:
    camera = Camera(grey(1))
    capture = capture_of(camera)
    capture.read()
    with pytest.raises(NetworkError, match="It was unplugged or lost its power"):
        capture.read()
    assert camera.reads == 1 + PATIENCE


def test_a_driver_that_waited_in_vain_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera()
    moments = iter([100.0, 110.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    with pytest.raises(SourceTimeout, match="camera 3: no picture for 10 s"):
        capture_of(camera).read()
    assert camera.reads == 1


def test_a_stamp_is_taken_from_drivers_that_give_one() -> None:
    camera = Camera(grey(1), grey(2), grey(3))
    camera.values[cv2.CAP_PROP_POS_MSEC] = 12_345.0
    assert capture_of(camera).read().pts_s is None
    stamped = capture_of(camera, stamped=True)
    assert stamped.read().pts_s == pytest.approx(12.345)
    camera.values.clear()
    assert stamped.read().pts_s is None


def test_a_size_that_the_camera_did_not_take_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    camera = Camera(grey(1))
    camera.values = {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0}
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    with caplog.at_level(logging.WARNING):
        open_camera("/dev/video3", "door", CameraMode(1920, 1080))
    assert caplog.messages == ["door gives 640×480 instead of the requested 1920×1080."]


@pytest.mark.parametrize(
    ("mode", "asked"),
    [
        (CameraMode(), []),
        (
            CameraMode(1280, 720, 30),
            [
                (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
                (cv2.CAP_PROP_FRAME_WIDTH, 1280),
                (cv2.CAP_PROP_FRAME_HEIGHT, 720),
                (cv2.CAP_PROP_FPS, 30),
            ],
        ),
    ],
)
def test_a_camera_is_asked_for_mjpg_before_the_size_and_never_to_queue(
    monkeypatch: pytest.MonkeyPatch, mode: CameraMode, asked: list[tuple[int, float]]
) -> None:
    camera = Camera()
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    open_camera("/dev/video3", "door", mode)
    assert camera.asked == [*asked, (cv2.CAP_PROP_BUFFERSIZE, 1)]


@pytest.mark.skipif(
    cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer"
)
def test_csi_without_gstreamer_says_which_opencv_is_needed() -> None:
    with (
        nothing_left_behind(),
        pytest.raises(MissingDependency, match=r"OpenCV built with GStreamer.*csi://0.*apt-get"),
    ):
        open_csi(0, "csi://0", CameraMode())


@pytest.mark.parametrize(
    ("colorimetry", "expected"),
    [
        ("bt709", "nv12_709"),
        ("(string)bt709", "nv12_709"),
        ("2:3:5:1", "nv12_709"),
        ("bt601", "nv12"),
        ("2:4:7:1", "nv12"),
        (None, "nv12"),
    ],
)
def test_the_matrix_of_nv12_is_that_of_its_caps_which_are_logged(
    colorimetry: str | None, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = "" if colorimetry is None else f", colorimetry={colorimetry}"
    head = "/GstPipeline:pipeline0/GstCapsFilter:capsfilter1.GstPad:src: caps = video/x-raw"
    text = f"{head}(memory:NVMM), format=NV12\n{head}, format=(string)NV12{told}\nGot EOS"
    with caplog.at_level(logging.INFO):
        assert matrix_of(text, "csi://0") == expected
    assert "format=(string)NV12" in caplog.text
    assert ("BT.709" in caplog.text) is (expected == "nv12_709")


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gst-launch-1.0")
@pytest.mark.parametrize(("colorimetry", "expected"), [("bt709", "nv12_709"), ("bt601", "nv12")])
def test_gstreamer_is_asked_for_the_matrix(colorimetry: str, expected: str) -> None:
    caps = f"video/x-raw,format=NV12,width=320,height=240,colorimetry={colorimetry}"
    pipeline = f"videotestsrc ! {caps} ! appsink drop=1 max-buffers=1 sync=false"
    assert _told_format(pipeline, "csi://0") == expected


@pytest.mark.parametrize(
    ("opencv", "code", "expected"), [(True, 0, True), (True, 1, False), (False, 0, False)]
)
def test_the_board_decodes_where_opencv_and_gstreamer_can(
    opencv: bool, code: int, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = tmp_path / "gst-inspect-1.0"
    inspect.write_text(f'#!/bin/sh\n[ "$*" = "--exists nvv4l2decoder" ] && exit {code}\nexit 2\n')
    inspect.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: opencv)
    has_board_decoder.cache_clear()
    try:
        assert has_board_decoder() is expected
    finally:
        has_board_decoder.cache_clear()


def test_a_stream_that_the_board_decodes_fails_as_streams_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capture = capture_of(Camera(grey(1)), is_stream=True)
    capture.read()
    with pytest.raises(SourceEnded):
        capture.read()
    moments = iter([100.0, 110.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    with pytest.raises(SourceTimeout, match="no data for 10"):
        capture_of(Camera(), is_stream=True).read()


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
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_camera_by_its_name_may_be_absent_at_first_and_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "/dev/v4l/by-id/usb-absent-index0"
    source = open_source(name)  # no error: a live source retries
    assert isinstance(source, LiveSource) and source.name == name
    with pytest.raises(NotFound, match=f"there is no camera {name} now; found: "):
        open_camera(name, "door", CameraMode())
    tried: list[str] = []
    monkeypatch.setattr("os.path.realpath", lambda path: f"/dev/video{90 + len(tried)}")
    for _ in range(2):  # another number after it was plugged in again
        with pytest.raises(NotFound) as caught:
            open_camera(name, "door", CameraMode())
        tried.append(str(caught.value))
    assert "/dev/video90" in tried[0] and "/dev/video91" in tried[1]
