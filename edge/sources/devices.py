"""Cameras of the system and CSI cameras of a Jetson, through OpenCV."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from pathlib import Path

from edge.errors import (
    MissingDependency,
    NetworkError,
    NotFound,
    SourceError,
    SourceTimeout,
)
from edge.sources.base import Shot
from edge.sources.policy import CameraMode
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


def open_camera(index: int, name: str, mode: CameraMode) -> DeviceCapture:
    """Open /dev/videoN; a warning is logged where it gives another size than requested.

    Raises:
        NotFound: there is no such camera.
        SourceError: there is, and it cannot be opened.
    """
    linux = sys.platform.startswith("linux")
    opened = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
    if not opened.isOpened():
        raise _why_not_opened(index, name)
    configure(opened, mode)
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
    capture = cv2.VideoCapture(csi_pipeline(sensor, mode), cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise SourceError(
            f"{name} cannot be opened. Check the ribbon cable, the number of the sensor, and that "
            "nvargus-daemon runs and no other program holds the camera."
        )
    return DeviceCapture(capture, name, mode.pixel_format)


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
    ) -> None:
        self._capture = capture
        self._name = name
        self._pixel_format: PixelFormat = pixel_format
        self._stamped = stamped
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
                return self._shot(image, now_s)  # type: ignore[arg-type]  # cv2's stubs: any dtype
            if now_s - began_s > QUICK_S:
                why = f"no picture for {now_s - began_s:.0f} s. Unplug and reconnect it."
                raise SourceTimeout(f"{self._name}: {why}")
        raise NetworkError(
            f"{self._name}: no more pictures. It was unplugged or lost its power: check the plug "
            "and the cable."
        )

    def close(self) -> None:
        """Release the camera; may be called twice."""
        self._capture.release()

    def _shot(self, image: Image, now_s: float) -> Shot:
        taken_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self._stamped else 0.0
        return Shot(now_s, taken_s if taken_s > 0 else None, lambda: image, self._pixel_format)


def list_cameras() -> list[str]:
    """The video devices of a Linux system, for instance ["/dev/video0"], in order."""
    devices = [(int(path.name[5:]), path) for path in Path("/dev").glob("video[0-9]*")]
    return [str(path) for _, path in sorted(devices)]


def configure(capture: cv2.VideoCapture, mode: CameraMode) -> None:
    """Request a mode from a camera.

    MJPG only together with a size: without it USB 2 carries larger pictures at a few frames per
    second, but at the camera's own size its uncompressed pixels are the better evidence. It must
    come before the size, which V4L2 checks against the format.
    """
    if mode.width and mode.height:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, mode.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.height)
    if mode.fps:
        capture.set(cv2.CAP_PROP_FPS, mode.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)


def csi_pipeline(sensor: int, mode: CameraMode) -> str:
    """The GStreamer pipeline of a Jetson's CSI camera; its sink keeps the newest picture only.

    The picture is converted in hardware to BGRx, the nearest that nvvidconv has to BGR, and the CPU
    drops the fourth byte. As NV12 it only leaves the hardware's memory.
    """
    to_cpu = {
        "bgr": "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR",
        "nv12": "nvvidconv ! video/x-raw,format=NV12",
    }
    width, height, fps = mode.width or 1280, mode.height or 720, round(mode.fps or 30)
    return (
        f"nvarguscamerasrc sensor-id={sensor} "
        f"! video/x-raw(memory:NVMM),width={width},height={height},format=NV12,framerate={fps}/1 "
        f"! {to_cpu[mode.pixel_format]} "
        "! appsink drop=1 max-buffers=1 sync=false"
    )


def _why_not_opened(index: int, name: str) -> SourceError:
    path, found = f"/dev/video{index}", ", ".join(list_cameras()) or "none"
    if not os.path.exists(path):
        return NotFound(
            f"{name}: there is no such camera; found: {found}. Check the number and the plug."
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return SourceError(
            f"{name}: this user may not open {path}. Run: sudo usermod -aG video $USER, and log in "
            "again."
        )
    return SourceError(
        f"{name}: {path} gives no video. Another program may hold it, or its camera gives video "
        f"at another device; found: {found}."
    )
