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
before a pattern. Cameras and streams are live sources, which reconnect by themselves; files and
pictures lose no frame, unless a video is to be played as a camera would send it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import SourceError
from edge.sources.address import redact, scheme_of
from edge.sources.policy import (
    DEFAULT_LIMITS,
    DEFAULT_MODE,
    DEFAULT_RECONNECT,
    CameraMode,
    Limits,
    ReconnectPolicy,
)

if TYPE_CHECKING:
    from edge.sources.base import OpenCapture, Source
    from edge.sources.live import LiveSource

    GoLive = Callable[[str, OpenCapture], LiveSource]

__all__ = ["open_recording", "open_source", "redact"]

_SCHEMES = ("rtsp", "rtsps", "http", "https", "csi")
_NUMBER = re.compile(r"[0-9]{1,4}")
_DEVICE = re.compile(r"/dev/video(\d+)")
_EXPECTED = "the number of a camera, a file, a folder or an address"
_CSI = re.compile(r"csi://(\d+)/?", re.IGNORECASE)
_PATTERN = re.compile(r"[*?\[]")


def open_source(
    text: str,
    *,
    name: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    retry: ReconnectPolicy = DEFAULT_RECONNECT,
    mode: CameraMode = DEFAULT_MODE,
    decode_threads: int = 1,
    loop: bool = False,
    as_live: bool = False,
) -> Source | LiveSource:
    """Choose a source by what a person wrote; to be opened by entering it.

    What is at an http(s) address shows only when its server is asked, for at most `limits.open_s`.

    Args:
        text: as in the table at the top of this package.
        name: what it is called in frames and messages; the text without credentials if None.
        limits: how long a live source is waited for.
        retry: when a live source that failed is opened again.
        mode: what is requested from a camera.
        decode_threads: of a stream; more for one too large for a core, each holds one frame back.
        loop: play a video file again and again at its own speed, as a live source.
        as_live: one of several cameras: play a video file at its own speed, as a live source; and
            what is at an address of the web is a stream.

    Returns:
        A `LiveSource`, which is polled, for a camera, a stream or a video to be played; else a
        `Source`, which is iterated.

    Raises:
        SourceError: nothing is there, or nothing of it can be such a source; entering raises it for
            what only opening shows.
        MissingDependency: a library is needed and absent.
    """
    if not text.strip():
        raise SourceError(f"no source was given. Expected {_EXPECTED}.")

    def go_live(called: str, open_capture: OpenCapture) -> LiveSource:
        from edge.sources.live import LiveSource

        return LiveSource(called, open_capture, limits, retry)

    camera = _camera_index(text)
    if camera is not None:
        from edge.sources.devices import open_camera

        called = name or f"camera {camera}"
        return go_live(called, lambda: open_camera(camera, called, mode))
    scheme = scheme_of(text)
    if scheme is None:
        path = Path(text).expanduser()
        if as_live or loop:
            return _played(path, text, name or text, go_live, loop)
        return _recording(path, text, name or text)
    if scheme not in _SCHEMES:
        known = ", ".join(f"{known}://" for known in _SCHEMES)
        raise SourceError(f"{redact(text)}: {scheme}:// is not supported. Expected one of {known}.")
    if scheme == "csi":
        return _csi(text, name, go_live, mode)
    return _from_address(text, name or redact(text), go_live, limits, decode_threads, as_live)


def open_recording(path: str | os.PathLike[str], name: str | None = None) -> Source:
    """The source of a video file, a picture, a folder or a pattern; never a camera or an address.

    Raises:
        SourceError: nothing is there.
    """
    text = os.fspath(path)
    return _recording(Path(text).expanduser(), text, name or text)


def _csi(text: str, name: str | None, go_live: GoLive, mode: CameraMode) -> LiveSource:
    match = _CSI.fullmatch(text)
    if match is None:
        raise SourceError(f"{redact(text)}: expected csi://N with the number of a sensor.")

    from edge.sources.devices import open_csi

    sensor = int(match[1])
    called = name or f"csi://{sensor}"
    return go_live(called, lambda: open_csi(sensor, called, mode))


def _from_address(
    url: str, name: str, go_live: GoLive, limits: Limits, decode_threads: int, as_live: bool
) -> Source | LiveSource:
    from edge.sources.streams import is_recording, open_stream, web_recording

    web = scheme_of(url) in ("http", "https")
    if web and not as_live and is_recording(url, limits, name):
        return web_recording(url, limits, name)
    return go_live(name, lambda: open_stream(url, limits, name=name, decode_threads=decode_threads))


def _played(path: Path, text: str, name: str, go_live: GoLive, loop: bool) -> LiveSource:
    from edge.sources.images import is_picture

    if os.path.isfile(path) and not is_picture(path):
        from edge.sources.streams import ClipCapture

        return go_live(name, lambda: ClipCapture(path, name, loop=loop))
    _recording(path, text, name)  # raises where nothing is there
    raise SourceError(
        f"{text}: pictures cannot be watched as a camera is. Expected a camera, a stream or a "
        "video."
    )


def _recording(path: Path, text: str, name: str) -> Source:
    from edge.sources.images import is_picture
    from edge.sources.stills import StillsSource, folder_source, glob_source

    # os.path, because pathlib raises on a path that is too long or may not be seen.
    if os.path.isfile(path):
        if is_picture(path):
            return StillsSource(name, [path])

        from edge.sources.containers import is_cut
        from edge.sources.video import VideoSource, open_file

        return VideoSource(name, lambda: open_file(path, name), lambda: is_cut(path))
    if os.path.isdir(path):
        return folder_source(path, name)
    if _PATTERN.search(text):
        return glob_source(str(path))
    what = "neither a file nor a folder" if os.path.exists(path) else "no such file or folder"
    raise SourceError(f"{redact(text)}: {what}. Expected {_EXPECTED}.")


def _camera_index(text: str) -> int | None:
    if _NUMBER.fullmatch(text):
        return int(text)
    # Such as /dev/v4l/by-id/usb-…, which keeps its name when the numbers change.
    device = os.path.realpath(text) if text.startswith("/dev/") else ""
    match = _DEVICE.fullmatch(device)
    return int(match[1]) if match else None
