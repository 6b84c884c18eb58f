"""Where frames come from: camera, stream, file, images.

| text | source |
| --- | --- |
| `0`, `/dev/video0` | a camera |
| `csi://0` | a CSI camera of a Jetson, where OpenCV has GStreamer |
| `rtsp://…`, `rtsps://…` | a stream, over TCP, or UDP where TCP is refused |
| `http://…`, `https://…` | a stream, or a file if its length is known |
| a folder, or a pattern such as `shots/*.png` | its pictures |
| a file | a picture, an animation or a video |

A number is a camera even where a file has that name; `./0` is the file. An existing file comes
before a pattern. Cameras and streams are live sources, which reconnect by themselves; files and
pictures lose no frame, unless a video is to be played as a camera would send it.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import AuthError, SourceError
from edge.sources.address import is_split_early, redact, scheme_of
from edge.sources.policy import (
    ALL_FRAMES,
    DEFAULT_LIMITS,
    DEFAULT_MODE,
    DEFAULT_RECONNECT,
    DEVICE,
    CameraMode,
    Limits,
    ReconnectPolicy,
    RtspTransport,
    Selection,
)

if TYPE_CHECKING:
    from edge.sources.base import OpenCapture, Source
    from edge.sources.live import LiveSource

    GoLive = Callable[[str, OpenCapture], LiveSource]

__all__ = ["expand", "open_recording", "open_source", "redact", "source_name"]

_SCHEMES = ("rtsp", "rtsps", "http", "https", "csi")
_NUMBER = re.compile(r"[0-9]{1,4}")
_EXPECTED = "the number of a camera, a file, a folder or an address"
_CSI = re.compile(r"csi://(\d+)/?", re.IGNORECASE)


def open_source(
    text: str,
    *,
    name: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    retry: ReconnectPolicy = DEFAULT_RECONNECT,
    mode: CameraMode = DEFAULT_MODE,
    rtsp_transport: RtspTransport = "auto",
    decode_threads: int = 1,
    loop: bool = False,
    as_live: bool = False,
    may_start_later: bool = True,
    selection: Selection = ALL_FRAMES,
) -> Source | LiveSource:
    """Choose a source by what a person wrote; to be opened by entering it.

    What is at an http(s) address shows only when its server is asked, for at most `limits.open_s`.

    Args:
        text: as in the table at the top of this package.
        name: what it is called in frames and messages; the text without credentials if None.
        limits: how long a live source is waited for.
        retry: when a live source that failed is opened again.
        mode: what is requested from a camera.
        rtsp_transport: over what RTSP sends its packets.
        decode_threads: of a stream; more for one too large for a core, each holds one frame back.
        loop: play a video file again and again at its own speed: a `LiveSource`, to be polled.
        as_live: the same once, as one of several cameras; an address of the web is a stream.
        may_start_later: take an address of the web that cannot be opened for a stream.
        selection: which frames of a recording are wanted.

    Raises:
        SourceError: nothing is there that can be such a source; entering raises the rest.
        MissingDependency: a library is needed and absent.
    """
    if not text.strip():
        raise SourceError(f"no source was given. Expected {_EXPECTED}.")

    def go_live(called: str, open_capture: OpenCapture) -> LiveSource:
        from edge.sources.live import LiveSource

        if selection != ALL_FRAMES:
            raise SourceError(
                f"{called}: every (--every) and seconds (--seconds) choose frames of a recording, "
                "and this is watched live. Leave them out."
            )
        return LiveSource(called, open_capture, limits, retry)

    scheme, called = scheme_of(text), name or source_name(text)
    if _device(text) is not None or scheme == "csi":
        return _camera(text, called, go_live, mode)
    if scheme is None:
        if as_live or loop:
            return _played(expand(text), text, called, go_live, loop)
        return _recording(expand(text), text, called, selection)
    _check_address(text, scheme, called)

    from edge.sources.streams import is_recording, open_stream, web_recording
    from edge.sources.web import WebPicture, names_a_picture

    web = scheme in ("http", "https") and not as_live
    if web and not loop and names_a_picture(text):
        return WebPicture(called, text, limits.open_s)
    if web and is_recording(text, limits, called, may_start_later):
        return web_recording(text, limits, called, selection)
    return go_live(
        called,
        lambda: open_stream(
            text, limits, name=called, transport=rtsp_transport, decode_threads=decode_threads
        ),
    )


def open_recording(
    path: str | os.PathLike[str],
    name: str | None = None,
    selection: Selection = ALL_FRAMES,
    decode_threads: int | None = None,
) -> Source:
    """The source of a video file, a picture, a folder or a pattern; SourceError without one."""
    text = os.fspath(path)
    return _recording(expand(text), text, name or text, selection, decode_threads)


def source_name(text: str) -> str:
    """What a source is called that was given no name: what was written, without credentials."""
    if (csi := _CSI.fullmatch(text)) is not None:
        return f"csi://{int(csi[1])}"
    if (device := _device(text)) is not None:
        numbered = DEVICE.fullmatch(os.path.normpath(device))
        return f"camera {numbered[1]}" if numbered else text
    return redact(text) if scheme_of(text) else text


def expand(text: str) -> Path:
    """The path of a text: `~` is a home folder, unless a file of that very name is there.

    Raises:
        SourceError: there is no such home folder.
    """
    path = Path(text)
    if os.path.lexists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        user = path.parts[0].removeprefix("~") or "this user"
        raise SourceError(
            f"{text}: no such file, and {user} has no home folder to look in. Write the whole path."
        ) from None


def _check_address(text: str, scheme: str, called: str) -> None:
    if scheme not in _SCHEMES:
        known = ", ".join(f"{known}://" for known in _SCHEMES)
        raise SourceError(f"{redact(text)}: {scheme}:// is not supported. Expected one of {known}.")
    if is_split_early(text):
        raise AuthError(
            f"{called}: the password, or the user, has a character that ends the host's part of an "
            "address. Write # as %23, / as %2F and ? as %3F in it."
        )


def _camera(text: str, called: str, go_live: GoLive, mode: CameraMode) -> LiveSource:
    from edge.sources.devices import open_camera, open_csi

    device = _device(text)
    if device is not None:
        return go_live(called, lambda: open_camera(device, called, mode))
    match = _CSI.fullmatch(text)
    if match is None:
        raise SourceError(f"{redact(text)}: expected csi://N with the number of a sensor.")
    return go_live(called, lambda: open_csi(int(match[1]), called, mode))


def _played(path: Path, text: str, name: str, go_live: GoLive, loop: bool) -> LiveSource:
    from edge.sources.images import is_picture

    if os.path.isfile(path) and not is_picture(path):
        from edge.sources.streams import ClipCapture

        return go_live(name, lambda: ClipCapture(path, name, loop=loop))
    _recording(path, text, name, ALL_FRAMES)  # raises where nothing is there
    raise SourceError(
        f"{text}: pictures cannot be watched as a camera is. Expected a camera, a stream or a "
        "video."
    )


def _recording(
    path: Path, text: str, name: str, selection: Selection, decode_threads: int | None = None
) -> Source:
    from edge.sources.images import count_pictures, is_picture
    from edge.sources.stills import AnimationSource, StillsSource, folder_source, glob_source

    # os.path, because pathlib raises on a path that is too long or may not be seen.
    if os.path.isfile(path):
        if is_picture(path):
            if (count := count_pictures(path)) > 1:
                return AnimationSource(name, path, count, selection)
            return StillsSource(name, [path])

        from edge.sources.containers import is_cut
        from edge.sources.video import VideoSource, open_file

        return VideoSource(
            name,
            lambda: open_file(path, name),
            lambda: is_cut(path),
            selection=selection,
            decode_threads=decode_threads,
        )
    if os.path.isdir(path):
        return folder_source(path, name)
    if glob.has_magic(text):
        return glob_source(str(path))
    what = "neither a file nor a folder" if os.path.exists(path) else "no such file or folder"
    raise SourceError(f"{redact(text)}: {what}. Expected {_EXPECTED}.")


def _device(text: str) -> str | None:
    """The device of a camera, which need not be there at the moment; None for anything else."""
    if _NUMBER.fullmatch(text):
        return f"/dev/video{int(text)}"
    # Such as /dev/v4l/by-id/usb-…, which keeps its name when the numbers change.
    by_path = text.startswith(("/dev/video", "/dev/v4l/"))
    leads_to = os.path.realpath(text) if text.startswith("/dev/") else ""
    return text if by_path or DEVICE.fullmatch(leads_to) else None
