"""What goes on by itself: streams, cameras and CSI cameras. Only the newest frame is kept."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SourceError
from edge.sources.address import redact, scheme_of
from edge.sources.opencv import (
    announced_fps,
    announced_length,
    cv2,
    open_ffmpeg,
    read_images,
)
from edge.sources.pump import Feed, PumpedSource, silent
from edge.sources.video import file_feed
from edge.types import Frame, PixelFormat

log = logging.getLogger(__name__)

_CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_NEARLY = 0.9
"""A failure after so large a share of a timeout is taken for the timeout."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a live source is waited for, in seconds.

    Attributes:
        frame_s: after it without a frame, None is yielded; again after as long again.
        open_s: after it, opening has failed.
        read_s: after it without anything from a stream, reading has failed for good.
        decode_threads: of a stream; each beyond the first holds one frame back.
    """

    frame_s: float = 5.0
    open_s: float = 10.0
    read_s: float = 30.0
    decode_threads: int = 1


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What is asked of a camera; None leaves the choice to it.

    Attributes:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        fps: frames per second.
        pixel_format: of a CSI camera's frames.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    pixel_format: PixelFormat = "bgr"


def stream_source(url: str, timeouts: Timeouts) -> PumpedSource:
    """A stream read through FFmpeg; over HTTP, a file of known length is a `file` source.

    Args:
        url: rtsp, rtsps, http or https, with credentials where they are needed.
        timeouts: how long to wait.
    """
    return _live_source(redact(url), lambda: _open_stream(url, timeouts), timeouts)


def camera_source(index: int, mode: CameraMode, timeouts: Timeouts) -> PumpedSource:
    """A camera of the system.

    Args:
        index: N of /dev/videoN.
        mode: what is asked of it.
        timeouts: how long to wait.
    """
    name = f"camera {index}"
    return _live_source(name, lambda: _open_camera(index, name, mode), timeouts)


def csi_source(address: str, mode: CameraMode, timeouts: Timeouts) -> PumpedSource:
    """A CSI camera of a Jetson, read through GStreamer.

    Args:
        address: csi://N, with N the number of the sensor.
        mode: what is asked of it; by default 1280×720 at 30 frames per second.
        timeouts: how long to wait.

    Raises:
        SourceError: N is not a number.
    """
    match = re.fullmatch(r"csi://(\d+)/?", address, re.IGNORECASE)
    if match is None:
        raise SourceError(f"{redact(address)}: expected csi://N with the number of the sensor.")
    name, sensor = f"csi://{match[1]}", int(match[1])
    return _live_source(name, lambda: _open_csi(sensor, name, mode), timeouts)


def _live_source(name: str, open_feed: Callable[[], Feed], timeouts: Timeouts) -> PumpedSource:
    return PumpedSource(
        name,
        open_feed,
        "live",
        frame_timeout_s=timeouts.frame_s,
        open_timeout_s=timeouts.open_s,
    )


def _open_stream(url: str, timeouts: Timeouts) -> Feed:
    name = redact(url)
    _ask_for_tcp()
    began = time.monotonic()
    capture = open_ffmpeg(url, _stream_parameters(timeouts))
    if not capture.isOpened():
        if time.monotonic() - began > _NEARLY * timeouts.open_s:
            raise silent(name, timeouts.open_s)
        raise SourceError(
            f"{name}: cannot be opened as a stream. Check the address, the credentials and that "
            "the sender runs."
        )
    if scheme_of(url) in ("http", "https") and announced_length(capture):
        # Nothing but the announced number tells that a download broke off.
        return file_feed(capture, name, falls_short=lambda _: True)
    return _live_feed(capture, name)


def _stream_parameters(timeouts: Timeouts) -> tuple[int, ...]:
    parameters = (
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(timeouts.open_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(timeouts.read_s * 1000),
    )
    # FFmpeg holds one frame back for each thread that decodes beyond the first.
    threads = getattr(cv2, "CAP_PROP_N_THREADS", None)  # OpenCV 4.8 and newer
    return parameters if threads is None else (*parameters, threads, timeouts.decode_threads)


def _ask_for_tcp() -> None:
    """Keep RTSP over TCP: UDP loses packets, and their damage looks like a manipulation.

    Once the variable is set, OpenCV's own preference for TCP is gone; so it is added to options
    that say nothing of the transport. It belongs to the whole process and files read it too, so
    that nothing else is put there: `fflags;nobuffer` would keep mp4 files from opening.
    """
    options = os.environ.get(_CAPTURE_OPTIONS, "")
    if "rtsp_transport" not in options:
        os.environ[_CAPTURE_OPTIONS] = "|".join(filter(None, (options, "rtsp_transport;tcp")))


def _live_feed(capture: cv2.VideoCapture, name: str, pixel_format: PixelFormat = "bgr") -> Feed:
    frames = _watch(capture, name, pixel_format)
    return Feed(frames, capture.release, "live", announced_fps(capture))


def _watch(capture: cv2.VideoCapture, name: str, pixel_format: PixelFormat) -> Iterator[Frame]:
    last = time.monotonic()
    for index, image in enumerate(read_images(capture)):
        yield Frame(image, index, time.time(), name, pixel_format=pixel_format)
        last = time.monotonic()
    waited_s = time.monotonic() - last
    if waited_s > 1:
        raise SourceError(f"{name}: the stream ended; nothing came for {waited_s:.0f} s.")
    raise SourceError(f"{name}: the stream ended.")


def _open_camera(index: int, name: str, mode: CameraMode) -> Feed:
    linux = sys.platform.startswith("linux")
    capture = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
    if not capture.isOpened():
        found = ", ".join(list_cameras()) or "none"
        raise SourceError(f"{name} cannot be opened; cameras found: {found}.")
    configure(capture, mode)
    _tell_other_size(capture, name, mode)
    return _live_feed(capture, name)


def list_cameras() -> list[str]:
    """The video devices of a Linux system, for instance ["/dev/video0"], in order."""
    devices = [(int(path.name[5:]), path) for path in Path("/dev").glob("video[0-9]*")]
    return [str(path) for _, path in sorted(devices)]


def configure(capture: cv2.VideoCapture, mode: CameraMode) -> None:
    """Ask a camera for a mode.

    MJPG is asked for only together with a size: without it USB 2 carries larger pictures at a few
    frames per second, but at the camera's own size its untouched pixels are the better evidence.
    It must come before the size, which V4L2 checks against the format.
    """
    if mode.width and mode.height:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, mode.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.height)
    if mode.fps:
        capture.set(cv2.CAP_PROP_FPS, mode.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)


def _tell_other_size(capture: cv2.VideoCapture, name: str, mode: CameraMode) -> None:
    width = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if mode.width and mode.height and (width, height) != (mode.width, mode.height):
        log.warning(
            "%s gives %d×%d, not the %d×%d that were asked for.",
            name,
            width,
            height,
            mode.width,
            mode.height,
        )


def _open_csi(sensor: int, name: str, mode: CameraMode) -> Feed:
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"{name} needs an OpenCV built with GStreamer, and this OpenCV {cv2.__version__} has "
            "none. On a Jetson use the system's: pip uninstall opencv-python "
            "opencv-python-headless, then sudo apt-get install python3-opencv."
        )
    capture = cv2.VideoCapture(csi_pipeline(sensor, mode), cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise SourceError(
            f"{name} cannot be opened. Check the ribbon cable, the number of the sensor, and that "
            "nvargus-daemon runs and no other program holds the camera."
        )
    return _live_feed(capture, name, mode.pixel_format)


def csi_pipeline(sensor: int, mode: CameraMode) -> str:
    """The GStreamer pipeline of a Jetson's CSI camera.

    The sensor's picture is converted in hardware to BGRx, the nearest that nvvidconv has to BGR,
    and the last step, on the CPU, drops the fourth byte. As NV12 it only leaves the hardware's
    memory, and nothing is converted on the CPU. The sink keeps one picture, the newest.
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
