"""OpenCV's video reader, quiet, and with a loop that survives a failed read."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

from edge.errors import MissingDependency
from edge.types import Image

# Both are read by the native libraries: the first when cv2 is imported, the second when it opens
# its first file. What goes wrong is told in our own words; who wants theirs sets the variables.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

try:
    import cv2 as cv2  # by this alias others take it from here, and its absence is told once
except ImportError as error:
    raise MissingDependency(
        "OpenCV",
        "read videos, cameras and streams",
        "pip install opencv-python (without a desktop: opencv-python-headless; on a Jetson: "
        "sudo apt-get install python3-opencv)",
    ) from error

_LOG_LEVEL_ERROR = 2
# cv2 may have been imported before this module, and then has not seen the variable.
if os.environ["OPENCV_LOG_LEVEL"] == "ERROR":
    getattr(cv2.utils, "logging", cv2).setLogLevel(_LOG_LEVEL_ERROR)  # OpenCV 5 and 4

_PATIENCE = 5
"""Reads in a row that may fail. After damage FFmpeg reports one failure, then gives the frames
that it still holds; a camera sends a broken picture now and then."""

_QUICK_S = 1.0
"""A failed read that took longer than this was a timeout, and is not tried again."""

_HIGHEST_FPS = 1000.0


def open_ffmpeg(address: str, parameters: tuple[int, ...] = ()) -> cv2.VideoCapture:
    """Open a file or stream with FFmpeg; ask `isOpened()` of what it returns."""
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, list(parameters))


def read_images(capture: cv2.VideoCapture) -> Iterator[Image]:
    """Read pictures, uint8 [H, W, 3] BGR, until no more come."""
    misses = 0
    while misses < _PATIENCE:
        began = time.monotonic()
        ok, image = capture.read()
        if ok:
            misses = 0
            yield image  # type: ignore[misc]  # cv2's stubs do not know that it is uint8
        elif time.monotonic() - began > _QUICK_S:
            return
        else:
            misses += 1


def announced_fps(capture: cv2.VideoCapture) -> float | None:
    """Frames per second that a capture announces; None where it says nothing sensible."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= _HIGHEST_FPS else None


def announced_length(capture: cv2.VideoCapture) -> int | None:
    """Number of frames that a capture announces, for some containers only an estimate."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if math.isfinite(count) and count > 0 else None
