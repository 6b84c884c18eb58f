"""Files on web servers: pictures, which are fetched whole, and what is no file of pixels at all."""

from __future__ import annotations

import http.client
import logging
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edge.deadline import in_time
from edge.errors import AuthError, CodecError, NetworkError, NotFound, SourceError
from edge.sources.address import ascii_address, redact, scheme_of
from edge.sources.base import Shot
from edge.sources.containers import LOOKED_AT, foreign
from edge.sources.images import IMAGE_SUFFIXES, JPEG, VIDEO_SUFFIXES, read_animation
from edge.sources.login import without_login
from edge.sources.reader import RecordedSource
from edge.types import Frame, Image

_GO_ON = {".mjpeg", ".mjpg", ".ts", ".flv", ".h264", ".264", ".h265", ".265", ".hevc"}
"""Names of files that cameras give to streams, too."""

_MOST_BYTES = 200_000_000
_POLL_S = 1.0

log = logging.getLogger(__name__)


class Foreign(CodecError):
    """A page or a document, which will never be a video."""


def names_a_picture(url: str) -> bool:
    """Whether an address is of a picture, by its name."""
    return _suffix(url) in IMAGE_SUFFIXES


def names_a_file(url: str) -> bool:
    """Whether an address is of a picture or a video, and of nothing that goes on, by its name."""
    return _suffix(url) in (IMAGE_SUFFIXES | VIDEO_SUFFIXES) - _GO_ON


def starts_with_jpeg(url: str, limit_s: float) -> bool:
    """Whether what a web server gives begins as a JPEG does."""
    try:
        return _fetched(url, url, limit_s, len(JPEG)) == JPEG
    except SourceError:
        return False


def answer_of(url: str, name: str, limit_s: float) -> SourceError | None:
    """What is wrong with a web server's answer that FFmpeg cannot use; None where nothing is known.

    Asked on a thread that may be abandoned, as the limit holds for each of its calls.
    """
    try:
        return in_time(partial(_judged, url, name, limit_s), limit_s, "patchwatch-source")
    except Exception:  # FFmpeg has found already that it is no video
        return None


def _judged(url: str, name: str, limit_s: float) -> SourceError | None:
    redirects = _Redirects()
    try:
        with _answer(url, limit_s, redirects, Range=f"bytes=0-{LOOKED_AT - 1}") as response:
            return _judge_head(response.read(LOOKED_AT), response.status, name)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code not in (301, 302, 303, 307, 308):
            return None
        scheme = scheme_of(error.headers.get("Location", ""))
        if scheme in (None, "http", "https"):
            return NetworkError(f"{name}: the server redirects in a loop. Check the address.")
        return NetworkError(
            f"{name}: the server redirects to {scheme}://, which is not followed. Check the "
            "address."
        )
    except http.client.RemoteDisconnected:
        return None
    except http.client.BadStatusLine:
        return NetworkError(
            f"{name}: the server's answer is not HTTP. Check the scheme and the port of the "
            "address."
        )
    except OSError:
        if redirects.target is None:
            return None
        return NetworkError(
            f"{name}: the server redirects to {redact(redirects.target)}, which cannot be read. "
            "Check what listens there."
        )


def _judge_head(head: bytes, status: int, name: str) -> SourceError | None:
    if not head:
        return CodecError(f"{name}: the server sent nothing ({status}, 0 bytes). Check the path.")
    if (what := foreign(head)) is not None:
        return Foreign(f"{name}: {what}.")
    if head[4:8] == b"ftyp" and status != http.client.PARTIAL_CONTENT:
        return CodecError(
            f"{name}: the server gives no byte ranges, which a film needs whose index is at its "
            "end. Download it first, or put the index first: ffmpeg -i IN -c copy -movflags "
            "+faststart OUT.mp4"
        )
    return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Remembers where it was sent last."""

    target: str | None = None

    def redirect_request(
        self, req: urllib.request.Request, *args: Any
    ) -> urllib.request.Request | None:
        self.target = args[-1]
        return super().redirect_request(req, *args)


class SnapshotCapture:
    """A camera's address that gives one picture for each request, asked every second."""

    fps: float | None = 1 / _POLL_S

    def __init__(self, url: str, name: str, limit_s: float) -> None:
        self._url, self._name, self._limit_s = url, name, limit_s
        self._next_s = time.monotonic()

    def read(self) -> Shot:
        """The next picture, when it is due; raises a SourceError that says why there is none."""
        time.sleep(max(0.0, self._next_s - time.monotonic()))
        self._next_s = time.monotonic() + _POLL_S
        image, _ = next(_pictures(self._url, self._name, self._limit_s))
        return Shot(time.monotonic(), None, lambda: image)

    def close(self) -> None:
        """Nothing is held between two requests."""


class WebPicture(RecordedSource):
    """A picture, or an animation's pictures, at an address; fetched when it is read.

    Args:
        name: fit to be shown.
        url: http or https, with user and password where the server wants them.
        limit_s: for each answer of the server.
    """

    def __init__(self, name: str, url: str, limit_s: float) -> None:
        super().__init__(name, "stills", lambda: (self._read(), lambda: None), ahead=1)
        self.length = 1
        self._url, self._limit_s = url, limit_s

    def _read(self) -> Iterator[Frame]:
        log.info("%s: a single picture, judged once. --loop asks for it every second", self.name)
        for image, _ in _pictures(self._url, self.name, self._limit_s):
            yield Frame(image, 0, time.time(), self.name)


def _pictures(url: str, name: str, limit_s: float) -> Iterator[tuple[Image, float]]:
    data = _fetched(url, name, limit_s, _MOST_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"picture{_suffix(url)}")
        path.write_bytes(data)
        try:
            yield from read_animation(path)
        except SourceError as error:
            raise type(error)(str(error).replace(os.fspath(path), name)) from error


def _suffix(url: str) -> str:
    path = re.split(r"[?#]", url.partition("://")[2])[0].partition("/")[2]
    return Path(unquote(path)).suffix.lower()


def _answer(url: str, limit_s: float, *handlers: urllib.request.BaseHandler, **head: str) -> Any:
    """The response of a server; raises an OSError, a ValueError or an HTTPException."""
    bare, logins = without_login(ascii_address(url))
    request = urllib.request.Request(bare, headers=head)
    return urllib.request.build_opener(*handlers, *logins).open(request, timeout=limit_s)


def _fetched(url: str, name: str, limit_s: float, most: int) -> bytes:
    """What a server gives, at most so many bytes of it; raises a SourceError that says why not."""
    try:
        with _answer(url, limit_s) as response:
            return bytes(response.read(most))
    except urllib.error.HTTPError as error:
        error.close()
        kind = {401: AuthError, 403: AuthError, 404: NotFound, 410: NotFound}.get(error.code)
        raise (kind or SourceError)(
            f"{name}: the server gives no file ({error.code} {error.reason}). Check the address, "
            "and user and password in it."
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:  # the last: no HTTP
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise NetworkError(
            f"{name}: the server cannot be read ({reason}). Check the address and the network."
        ) from None
