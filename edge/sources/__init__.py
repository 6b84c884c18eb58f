"""Where frames come from: camera, stream, file, images.

| text | source |
| --- | --- |
| `0`, `/dev/video0` | a camera |
| `csi://0` | a CSI camera of a Jetson, where OpenCV has GStreamer |
| `rtsp://…`, `rtsps://…` | a stream, over TCP |
| `http://…`, `https://…` | a stream, or a file if its length is known |
| a folder, or a pattern such as `shots/*.png` | its pictures |
| a file | a picture or a video |

A number is a camera even where a file has that name; `./0` is the file. An existing file comes
before a pattern.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import SourceError
from edge.sources.address import redact, scheme_of
from edge.types import PixelFormat

if TYPE_CHECKING:
    from edge.sources.base import Source

__all__ = ["open_source", "redact"]

_SCHEMES = ("rtsp", "rtsps", "http", "https", "csi")
_NUMBER = re.compile(r"[0-9]{1,4}")
_DEVICE = re.compile(r"/dev/video(\d+)")
_EXPECTED = "the number of a camera, a file, a folder or an address"
_PATTERN = re.compile(r"[*?\[]")


def open_source(
    text: str,
    *,
    frame_timeout_s: float = 5.0,
    open_timeout_s: float = 10.0,
    read_timeout_s: float = 30.0,
    decode_threads: int = 1,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    pixel_format: PixelFormat = "bgr",
) -> Source:
    """Choose a source by what a person wrote; to be opened by entering it.

    Args:
        text: as in the table at the top of this package.
        frame_timeout_s: a live source yields None each time that no frame came for so long.
        open_timeout_s: opening a live source fails after it.
        read_timeout_s: a stream that sent nothing for so long has ended.
        decode_threads: of a stream; more for one too large for a core, each holds one frame back.
        width: asked of a camera, in pixels; with `height`.
        height: asked of a camera, in pixels; with `width`.
        fps: asked of a camera, frames per second.
        pixel_format: of a CSI camera's frames; others give BGR.

    Raises:
        SourceError: nothing is there, or nothing of it can be a source; entering raises it for what
            only opening shows.
        MissingDependency: OpenCV is needed and absent.
    """
    if not text.strip():
        raise SourceError(f"no source was given. Expected {_EXPECTED}.")
    scheme, camera = scheme_of(text), _camera_index(text)
    if scheme is None and camera is None:
        return _open_path(text)
    if scheme is not None and scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise SourceError(f"{redact(text)}: {scheme}:// is not known. Expected one of {known}.")

    from edge.sources import live

    timeouts = live.Timeouts(frame_timeout_s, open_timeout_s, read_timeout_s, decode_threads)
    mode = live.CameraMode(width, height, fps, pixel_format)
    if camera is not None:
        return live.camera_source(camera, mode, timeouts)
    if scheme == "csi":
        return live.csi_source(text, mode, timeouts)
    return live.stream_source(text, timeouts)


def _camera_index(text: str) -> int | None:
    if _NUMBER.fullmatch(text):
        return int(text)
    # Such as /dev/v4l/by-id/usb-…, which keeps its name when the numbers change.
    device = os.path.realpath(text) if text.startswith("/dev/") else ""
    match = _DEVICE.fullmatch(device)
    return int(match[1]) if match else None


def _open_path(text: str) -> Source:
    path = Path(text).expanduser()
    # os.path, because pathlib raises on a path that is too long or may not be seen.
    if os.path.isdir(path):
        from edge.sources.stills import folder_source

        return folder_source(path, text)
    if os.path.isfile(path):
        return _open_file(path, text)
    if _PATTERN.search(text):
        from edge.sources.stills import glob_source

        return glob_source(str(path))
    what = "neither a file nor a folder" if os.path.exists(path) else "no such file or folder"
    raise SourceError(f"{redact(text)}: {what}. Expected {_EXPECTED}.")


def _open_file(path: Path, name: str) -> Source:
    from edge.sources.images import is_image, is_unnamed_image

    if is_image(path) or is_unnamed_image(path):
        from edge.sources.stills import StillsSource

        return StillsSource(name, [path])

    from edge.sources.video import video_source

    return video_source(path, name)
