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
before a pattern. Cameras and streams are live sources, which come back by themselves; files and
pictures lose no frame, unless a video is to be played as a camera would send it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import SourceError
from edge.sources.address import redact, scheme_of
from edge.sources.policy import (
    USUAL_LIMITS,
    USUAL_MODE,
    USUAL_RETRY,
    CameraMode,
    Limits,
    RetryPolicy,
)

if TYPE_CHECKING:
    from edge.sources.base import Source
    from edge.sources.capture import OpenCapture
    from edge.sources.live import LiveSource

__all__ = ["open_source", "redact"]

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
    limits: Limits = USUAL_LIMITS,
    retry: RetryPolicy = USUAL_RETRY,
    mode: CameraMode = USUAL_MODE,
    decode_threads: int = 1,
    loop: bool = False,
    as_live: bool = False,
) -> Source:
    """Choose a source by what a person wrote; to be opened by entering it.

    Args:
        text: as in the table at the top of this package.
        name: what it is called in frames and messages; the text without credentials if None.
        limits: how long a live source is waited for.
        retry: when a live source that failed is opened again.
        mode: what is asked of a camera.
        decode_threads: of a stream; more for one too large for a core, each holds one frame back.
        loop: play a video file again and again at its own speed, as a live source.
        as_live: one of several cameras: play a video file at its own speed, as a live source; and
            what is at an address of the web is a stream.

    Returns:
        A `LiveSource` for a camera, a stream or a video to be played; a `WebSource` for http(s),
        unless `as_live`; a `PumpedSource` for any other video and for pictures.

    Raises:
        SourceError: nothing is there, or nothing of it can be such a source; entering raises it for
            what only opening shows.
        MissingDependency: OpenCV is needed and absent.
    """
    if not text.strip():
        raise SourceError(f"no source was given. Expected {_EXPECTED}.")
    chosen = _Choice(text, name, limits, retry, mode, decode_threads, loop, as_live)
    camera = _camera_index(text)
    if camera is not None:
        return chosen.camera(camera)
    return chosen.path() if scheme_of(text) is None else chosen.address()


@dataclass(frozen=True, slots=True)
class _Choice:
    """What `open_source` was given."""

    text: str
    name: str | None
    limits: Limits
    retry: RetryPolicy
    mode: CameraMode
    decode_threads: int
    loop: bool
    as_live: bool

    @property
    def called(self) -> str:
        """What an address is called, fit to be shown."""
        return self.name or redact(self.text)

    def camera(self, index: int) -> Source:
        from edge.sources.devices import open_camera

        name = self.name or f"camera {index}"
        return self._live(name, lambda: open_camera(index, name, self.mode))

    def address(self) -> Source:
        scheme = scheme_of(self.text)
        if scheme not in _SCHEMES:
            known = ", ".join(f"{name}://" for name in _SCHEMES)
            raise SourceError(
                f"{redact(self.text)}: {scheme}:// is not known. Expected one of {known}."
            )
        if scheme == "csi":
            return self._csi()
        if scheme in ("rtsp", "rtsps") or self.as_live:
            return self._stream()

        from edge.sources.web import WebSource

        return WebSource(self.called, self.text, self.limits, self._stream)

    def path(self) -> Source:
        path, name = Path(self.text).expanduser(), self.name or self.text
        # os.path, because pathlib raises on a path that is too long or may not be seen.
        if os.path.isfile(path):
            return self._file(path, name)
        if os.path.isdir(path):
            self._refuse_pictures()
            from edge.sources.stills import folder_source

            return folder_source(path, name)
        if _PATTERN.search(self.text):
            self._refuse_pictures()
            from edge.sources.stills import glob_source

            return glob_source(str(path))
        what = "neither a file nor a folder" if os.path.exists(path) else "no such file or folder"
        raise SourceError(f"{redact(self.text)}: {what}. Expected {_EXPECTED}.")

    def _csi(self) -> Source:
        match = _CSI.fullmatch(self.text)
        if match is None:
            raise SourceError(f"{redact(self.text)}: expected csi://N with the number of a sensor.")

        from edge.sources.devices import open_csi

        sensor = int(match[1])
        name = self.name or f"csi://{sensor}"
        return self._live(name, lambda: open_csi(sensor, name, self.mode))

    def _stream(self) -> LiveSource:
        from edge.sources.streams import open_stream

        return self._live(
            self.called,
            lambda: open_stream(
                self.text, self.limits, name=self.called, decode_threads=self.decode_threads
            ),
        )

    def _file(self, path: Path, name: str) -> Source:
        from edge.sources.images import is_image, is_unnamed_image

        if is_image(path) or is_unnamed_image(path):
            self._refuse_pictures()
            from edge.sources.stills import StillsSource

            return StillsSource(name, [path])

        if self.as_live or self.loop:
            from edge.sources.streams import open_clip

            return self._live(name, lambda: open_clip(path, name, loop=self.loop))

        from edge.sources.video import video_source

        return video_source(path, name)

    def _refuse_pictures(self) -> None:
        if self.as_live or self.loop:
            raise SourceError(
                f"{self.text}: pictures cannot be watched as a camera is. Expected a camera, a "
                "stream or a video."
            )

    def _live(self, name: str, open_capture: OpenCapture) -> LiveSource:
        from edge.sources.live import LiveSource

        return LiveSource(name, open_capture, self.limits, self.retry)


def _camera_index(text: str) -> int | None:
    if _NUMBER.fullmatch(text):
        return int(text)
    # Such as /dev/v4l/by-id/usb-…, which keeps its name when the numbers change.
    device = os.path.realpath(text) if text.startswith("/dev/") else ""
    match = _DEVICE.fullmatch(device)
    return int(match[1]) if match else None
