"""Why a stream failed, as one of the errors of `edge.errors`, with a sentence that says what to do.

FFmpeg tells little: a number, and a text that holds the address with its password. So only the
number is looked at. Which number it gives where was found against real servers, and part of it is
of no use: an RTSP server that never answers gives "invalid data", and a host without an address the
same "input/output error" as a broken connection. What the number leaves open is told by the time
that passed and by the name service.
"""

from __future__ import annotations

import errno
import socket
from urllib.parse import urlsplit

from edge.errors import (
    AuthError,
    CodecError,
    NetworkError,
    NotFound,
    SourceEnded,
    SourceError,
    SourceTimeout,
)
from edge.sources.address import scheme_of


def _tag(text: bytes) -> int:
    """An error number of FFmpeg's own from its four letters (`FFERRTAG`), as PyAV gives it."""
    return int.from_bytes(text, "little")


_RTSP, _ENCRYPTED = ("rtsp", "rtsps"), ("rtsps", "https")
_EOF = _tag(b"EOF ")
_DAMAGED = {_tag(b"INDA"), _tag(b"PAWE")}
_LACKING = {_tag(b"\xf8DEC"), _tag(b"\xf8DEM"), _tag(b"\xf8BSF"), _tag(b"\xf8STR")}
_NO_PROTOCOL = _tag(b"\xf8PRO")
_UNAUTHORIZED, _FORBIDDEN = _tag(b"\xf8401"), _tag(b"\xf8403")
_NOT_FOUND = _tag(b"\xf8404")
_REFUSALS = {
    _tag(b"\xf8400"): "the request is malformed, 400",
    _tag(b"\xf8429"): "too many requests, 429",
    _tag(b"\xf84XX"): "4xx",
    _tag(b"\xf85XX"): "an error of its own, 5xx",
}
_UNREACHABLE = {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


def opening_failed(code: int, address: str, name: str) -> SourceError:
    """The error of a stream that could not be opened, though its time was not up.

    Args:
        code: FFmpeg's error number, positive, as `errno` or a tag.
        address: with credentials; nothing of it gets into the message but its scheme.
        name: fit to be shown.
    """
    answered = _answer(code, address, name)
    if answered is not None:
        return answered
    if code == errno.ECONNREFUSED:
        return NetworkError(
            f"{name}: the connection was refused. Check the host and the port, and that the "
            "sender runs."
        )
    if code in _UNREACHABLE:
        return NetworkError(
            f"{name}: the host cannot be reached. Check the address, the cable and the network."
        )
    if code == errno.EIO:
        return _no_connection(address, name)
    if code in _DAMAGED | _LACKING:
        return _not_understood(address, name)
    return _broken(code, name, "the connection was closed before the stream began")


def reading_failed(code: int, name: str) -> SourceError:
    """The error of a stream that broke while it was read.

    Args:
        code: FFmpeg's error number, positive.
        name: fit to be shown.
    """
    if code in (_EOF, errno.EIO):  # the latter over HTTP, where nothing announced the end
        return ended(name)
    if code in _DAMAGED | _LACKING:
        return CodecError(f"{name}: what came is not the stream that was announced.")
    return _answer(code, "", name) or _broken(code, name, "the connection broke")


def no_answer(name: str, limit_s: float) -> SourceTimeout:
    """Opening took too long."""
    return SourceTimeout(
        f"{name}: no answer within {limit_s:g} s. Check the address and that the sender runs."
    )


def fell_silent(name: str, limit_s: float) -> SourceTimeout:
    """Nothing came from an open stream."""
    return SourceTimeout(
        f"{name}: nothing came for {limit_s:g} s. Check the sender and the network."
    )


def undecodable(name: str, limit_s: float) -> CodecError:
    """Pictures came, and none of them was whole."""
    return CodecError(
        f"{name}: no undamaged picture came for {limit_s:g} s. Check the network for losses and "
        "the sender for overload."
    )


def no_video(name: str) -> CodecError:
    """What was opened holds no pictures."""
    return CodecError(f"{name}: expected video, and found no video track in it.")


def unknown_codec(name: str) -> CodecError:
    """No decoder for it is at hand."""
    return CodecError(
        f"{name}: its video is coded in a way that cannot be decoded here. Set the sender to H.264."
    )


def ended(name: str) -> SourceEnded:
    """The sender closed the stream."""
    return SourceEnded(f"{name}: the stream ended.")


def _answer(code: int, address: str, name: str) -> SourceError | None:
    """What a server's refusal means; None where the code is none."""
    if code == _UNAUTHORIZED:
        return AuthError(f"{name}: {_wrong_credentials(address)}")
    if code == _FORBIDDEN:
        return AuthError(
            f"{name}: the server does not let this user see the stream (403). Check the user and "
            "its rights."
        )
    if code == _NOT_FOUND:
        return NotFound(
            f"{name}: the server has nothing at this path (404). Check the path of the address."
        )
    if code == errno.EPROTONOSUPPORT:
        return SourceError(
            f"{name}: the sender does not offer its stream over TCP. Allow RTSP over TCP there."
        )
    if code in _REFUSALS:
        return SourceError(f"{name}: the server refuses the stream ({_REFUSALS[code]}).")
    if code == _NO_PROTOCOL:
        return SourceError(
            f"{name}: the installed PyAV does not speak {scheme_of(address) or 'this protocol'}."
        )
    return None


def _wrong_credentials(address: str) -> str:
    if "@" in address:
        return (
            "the user or the password is wrong (401). Check both; in an address @ : / are written "
            "as %40 %3A %2F."
        )
    scheme = scheme_of(address) or "rtsp"
    return f"a user and a password are needed (401). Write {scheme}://user:password@host/…"


def _no_connection(address: str, name: str) -> SourceError:
    if not resolves(address):
        return NetworkError(
            f"{name}: its host has no address. Check the name, and that this machine's name "
            "service answers."
        )
    if scheme_of(address) in _ENCRYPTED:
        return NetworkError(
            f"{name}: no encrypted connection comes about. Check the port, and whether the sender "
            "wants the scheme without the s."
        )
    return NetworkError(f"{name}: the connection broke while it was made. Check the sender.")


def _not_understood(address: str, name: str) -> SourceError:
    if scheme_of(address) in _RTSP:  # FFmpeg says so of a connection that was closed, too
        return NetworkError(
            f"{name}: what answers there does not speak RTSP, or closed the connection. Check the "
            "port, and that the sender has started."
        )
    return CodecError(
        f"{name}: what answers there is no video that can be decoded. Check the scheme, the port "
        "and the path of the address."
    )


def _broken(code: int, name: str, how: str) -> SourceError:
    if code in _EXHAUSTED:
        return SourceError(f"{name}: this machine has no memory or no files left for a connection.")
    if code == errno.ETIMEDOUT:
        return SourceTimeout(f"{name}: the network gave no answer. Check the cable and the sender.")
    return NetworkError(f"{name}: {how}. Check the sender and the network.")


def resolves(address: str) -> bool:
    """Whether an address's host has an address in the network. Asks the name service; may block."""
    try:
        host = urlsplit(address).hostname
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # UnicodeError, of a name that cannot be one, is a ValueError
        return False
    return host is not None
