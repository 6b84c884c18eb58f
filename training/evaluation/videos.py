"""Frames of a video file at a chosen rate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from edge.errors import SourceError
from edge.types import Image

_EARLY_S = 1e-3
"""So much before its moment a frame still counts: times are rounded to the container's ticks."""


def sampled_frames(path: Path, fps: float) -> Iterator[Image]:
    """The first frame, then the next one each time that 1 / fps seconds have passed.

    Args:
        path: a video file; its first video stream is taken.
        fps: frames per second of presentation time; more than the video has gives them all.

    Yields:
        uint8 [H, W, 3] BGR, turned as a player turns it.

    Raises:
        SourceError: cannot be opened or decoded to its end, has no video, or no frame.
    """
    found = False
    try:
        for frame in _at_rate(path, fps):
            found = True
            yield _upright(frame)
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise SourceError(f"{path}: not a whole video that can be decoded ({reason}).") from error
    if not found:
        raise SourceError(f"{path}: the video has no frame.")


def _at_rate(path: Path, fps: float) -> Iterator[VideoFrame]:
    with av.open(str(path.resolve())) as container:
        if not container.streams.video:
            raise SourceError(f"{path}: expected a video, found a file without moving pictures.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        step_s = 1 / float(stream.average_rate or 25)
        start_s, taken = None, 0
        for index, frame in enumerate(container.decode(stream)):
            time_s = index * step_s if frame.time is None else frame.time
            start_s = time_s if start_s is None else start_s
            if time_s - start_s + _EARLY_S >= taken / fps:
                taken = int((time_s - start_s + _EARLY_S) * fps) + 1
                yield frame


def _upright(frame: VideoFrame) -> Image:
    turns = round(getattr(frame, "rotation", 0) / 90)  # the attribute came with PyAV 14
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), turns)).astype(
        np.uint8, copy=False
    )
