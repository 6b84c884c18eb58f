"""Cameras of the system and CSI cameras of a Jetson, through OpenCV."""

from __future__ import annotations

import functools
import logging
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, cast

from edge.errors import MissingDependency, NetworkError, NotFound, SourceError, SourceTimeout
from edge.sources import faults
from edge.sources.base import Shot
from edge.sources.policy import CSI_HW, DEVICE, CameraMode, Limits, RtspTransport
from edge.types import Image, PixelFormat

# Both are read by the native libraries: the first when cv2 is imported, the second when it opens
# its first file. What goes wrong is reported in our own words; to see theirs, set the variables.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

try:
    import cv2
except ImportError as error:
    raise MissingDependency(
        "OpenCV",
        "read cameras",
        "pip install opencv-python (without a desktop: opencv-python-headless; on a Jetson: "
        "sudo apt-get install python3-opencv)",
    ) from error

log = logging.getLogger(__name__)

_LOG_LEVEL_ERROR = 2
# cv2 may have been imported before this module, and then has not seen the variable.
if os.environ["OPENCV_LOG_LEVEL"] == "ERROR":
    getattr(cv2.utils, "logging", cv2).setLogLevel(_LOG_LEVEL_ERROR)  # OpenCV 5 and 4

_HIGHEST_FPS = 1000.0

PATIENCE = 5  # reads in a row that may fail: cameras send a broken picture now and then
QUICK_S = 1.0  # a failed read that took longer was a timeout, and is not repeated


def open_camera(device: str, name: str, mode: CameraMode) -> DeviceCapture:
    """Open /dev/videoN, or what a link such as /dev/v4l/by-id/… leads to now.

    A warning is logged where it gives another size than requested.

    Raises:
        NotFound: there is no such camera.
        SourceError: there is, and it cannot be opened.
    """
    linux = sys.platform.startswith("linux")
    found = DEVICE.fullmatch(os.path.realpath(device)) or DEVICE.fullmatch(device)
    if found is None:
        raise NotFound(
            f"{name}: there is no camera {device} now; found: {_found()}. Check the plug."
        )
    index = int(found[1])
    opened = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
    if not opened.isOpened():
        raise _why_not_opened(f"/dev/video{index}", name)
    # MJPG only together with a size: without it USB 2 carries larger pictures at a few frames per
    # second, but at the camera's own size its uncompressed pixels are the better evidence. It must
    # come before the size, which V4L2 checks against the format.
    if mode.width and mode.height:
        opened.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        opened.set(cv2.CAP_PROP_FRAME_WIDTH, mode.width)
        opened.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.height)
    if mode.fps:
        opened.set(cv2.CAP_PROP_FPS, mode.fps)
    opened.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    capture = DeviceCapture(opened, name, stamped=linux)
    width = round(opened.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = round(opened.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if mode.width and mode.height and (width, height) != (mode.width, mode.height):
        sizes = (width, height, mode.width, mode.height)
        log.warning("%s gives %d×%d instead of the requested %d×%d.", name, *sizes)
    return capture


def open_csi(sensor: int, name: str, mode: CameraMode) -> DeviceCapture:
    """Open a CSI camera of a Jetson, through GStreamer; by default 1280×720 at 30 fps.

    Raises:
        MissingDependency: OpenCV lacks GStreamer; nothing is tried again.
        SourceError: the camera cannot be opened.
    """
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise MissingDependency(
            "An OpenCV built with GStreamer, as the system's of a Jetson,",
            f"read {name}",
            "pip uninstall opencv-python opencv-python-headless, then sudo apt-get install "
            "python3-opencv",
        )
    pipeline, pixel_format = csi_pipeline(sensor, mode), mode.pixel_format
    if pixel_format == "nv12":
        pixel_format = _told_format(pipeline, name)
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise SourceError(
            f"{name} cannot be opened. Check the ribbon cable, the number of the sensor, and that "
            "nvargus-daemon runs and no other program holds the camera. On a Jetson Thor use a USB "
            "or network camera."
        )
    return DeviceCapture(capture, name, pixel_format)


@functools.cache
def _told_format(pipeline: str, name: str) -> PixelFormat:
    """NV12's matrix as GStreamer names it: OpenCV passes its caps on to nobody, so one frame is
    taken by gst-launch-1.0 first. BT.601 where that says nothing.
    """
    source = pipeline.replace(" !", " num-buffers=1 !", 1).rpartition("! appsink")[0]
    command = ["gst-launch-1.0", "-v", *source.split(), "!", "fakesink"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("%s: its colour matrix is unknown (%s); BT.601 is taken", name, error)
        return "nv12"
    return matrix_of(done.stdout, name)


def matrix_of(text: str, name: str) -> PixelFormat:
    """From the last caps that `gst-launch-1.0 -v` printed, which are logged."""
    caps = re.findall(r"caps = (video/x-raw,.*)", text)
    told = re.search(r"colorimetry=(?:\(string\))?([\w:]+)", caps[-1]) if caps else None
    # By numbers: range, matrix, transfer, primaries; GstVideoColorMatrix has BT.709 as 3.
    is_709 = told is not None and (told[1] == "bt709" or told[1].split(":")[1:2] == ["3"])
    log.info(
        "%s: %s; NV12 is read by BT.%d",
        name,
        caps[-1] if caps else "no caps",
        709 if is_709 else 601,
    )
    return "nv12_709" if is_709 else "nv12"


@functools.cache
def has_board_decoder() -> bool:
    """Whether OpenCV has GStreamer, and GStreamer the decoder of a Jetson."""
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        return False
    command = ["gst-inspect-1.0", "--exists", "nvv4l2decoder"]
    try:
        return subprocess.run(command, capture_output=True, timeout=5, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def rtsp_pipeline(url: str, codec: str, protocol: Literal["tcp", "udp"] = "tcp") -> str:
    """The GStreamer pipeline that has the board decode a stream, "h264" or "hevc", to NV12; its
    sink keeps the newest picture only.
    """
    kind = {"h264": "h264", "hevc": "h265"}[codec]
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f'rtspsrc location="{quoted}" protocols={protocol} latency=100 '
        f"! rtp{kind}depay ! {kind}parse ! nvv4l2decoder ! nvvidconv ! video/x-raw,format=NV12 "
        "! appsink drop=1 max-buffers=1 sync=false"
    )


def open_board_stream(
    url: str, codec: str, name: str, limits: Limits, transport: RtspTransport = "auto"
) -> DeviceCapture | None:
    """A stream that the board decodes; None where its pipeline does not start, which is logged."""
    options = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(limits.open_s * 1e3)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(limits.read_s * 1e3)),
    ]
    pipeline = rtsp_pipeline(url, codec, "udp" if transport == "udp" else "tcp")
    try:
        capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER, options)
        started = capture.isOpened()
    except cv2.error:  # what OpenCV's own errors become where they may be raised
        started = False
    if not started:
        log.warning("%s: the board's decoder does not take it; it is decoded on the CPU", name)
        return None
    height = round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    # Neither the stream nor OpenCV tells: of broadcast's two matrices HD takes BT.709.
    pixel_format: PixelFormat = "nv12_709" if height >= 720 else "nv12"
    log.info("%s is decoded by the board; NV12 is read by BT.%s", name, pixel_format[5:] or "601")
    return DeviceCapture(capture, name, pixel_format, is_stream=True)


class DeviceCapture:
    """An open camera. Opened, read and closed on one thread.

    OpenCV keeps a camera's picture only until the next one, and for this thread; so each frame is
    converted at once, also those that nobody takes.
    """

    def __init__(
        self,
        capture: cv2.VideoCapture,
        name: str,
        pixel_format: PixelFormat = "bgr",
        stamped: bool = False,
        is_stream: bool = False,
    ) -> None:
        self._capture = capture
        self._name = name
        self._pixel_format: PixelFormat = pixel_format
        self._stamped = stamped
        self._is_stream = is_stream
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps <= _HIGHEST_FPS else None

    def read(self) -> Shot:
        """The next picture, blocking until it comes or the driver gives up.

        Raises:
            SourceTimeout: the driver timed out.
            NetworkError: it gives no more pictures.
        """
        for _ in range(PATIENCE):
            began_s = time.monotonic()
            ok, image = self._capture.read()
            now_s = time.monotonic()
            if ok:
                break
            if now_s - began_s > QUICK_S:
                if self._is_stream:
                    raise faults.fell_silent(self._name, now_s - began_s)
                why = f"no picture for {now_s - began_s:.0f} s. Unplug and reconnect it."
                raise SourceTimeout(f"{self._name}: {why}")
        else:
            if self._is_stream:
                raise faults.ended(self._name)
            raise NetworkError(
                f"{self._name}: no more pictures. It was unplugged or lost its power: check the "
                "plug and the cable."
            )
        taken_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self._stamped else 0.0
        pts_s = taken_s if taken_s > 0 else None
        return Shot(now_s, pts_s, lambda: cast(Image, image), self._pixel_format)

    def close(self) -> None:
        """Release the camera; may be called twice."""
        self._capture.release()


def csi_pipeline(sensor: int, mode: CameraMode) -> str:
    """The GStreamer pipeline of a Jetson's CSI camera; its sink keeps the newest picture only.

    The picture is converted in hardware to BGRx, the nearest that nvvidconv has to BGR, and the CPU
    drops the fourth byte. As NV12 it only leaves the hardware's memory.
    """
    to_cpu = {
        "bgr": "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR",
        **dict.fromkeys(("nv12", "nv12_709"), "nvvidconv ! video/x-raw,format=NV12"),
    }
    width, height, fps = mode.width or CSI_HW[1], mode.height or CSI_HW[0], round(mode.fps or 30)
    return (
        f"nvarguscamerasrc sensor-id={sensor} "
        f"! video/x-raw(memory:NVMM),width={width},height={height},format=NV12,framerate={fps}/1 "
        f"! {to_cpu[mode.pixel_format]} "
        "! appsink drop=1 max-buffers=1 sync=false"
    )


def _found() -> str:
    devices = sorted(Path("/dev").glob("video[0-9]*"), key=lambda device: int(device.name[5:]))
    return ", ".join(map(str, devices)) or "none"


def _why_not_opened(path: str, name: str) -> SourceError:
    if not os.path.exists(path):
        return NotFound(
            f"{name}: there is no camera {path}; found: {_found()}. Check the number and the plug."
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return SourceError(
            f"{name}: this user may not open {path}. Run: sudo usermod -aG video $USER, and log in "
            "again."
        )
    return SourceError(
        f"{name}: {path} gives no video. Another program may hold it, or its camera gives video "
        f"at another device; found: {_found()}."
    )
