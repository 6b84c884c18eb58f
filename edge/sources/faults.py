"""Why a stream failed, as one of the errors of `edge.errors`, with a sentence that says what to do.

FFmpeg's text holds the address with its password, so only its number is used. What it means was
found against real servers; where it is ambiguous, elapsed time and the name service tell.
"""

from __future__ import annotations

import errno
import os
import socket
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from edge.errors import (
    AuthError,
    CodecError,
    NetworkError,
    NotFound,
    SourceEnded,
    SourceError,
    SourceTimeout,
)
from edge.sources.address import redact, scheme_of


def _tag(text: bytes) -> int:
    """An error number of FFmpeg's own from its four letters (`FFERRTAG`), as PyAV gives it."""
    return int.from_bytes(text, "little")


_EOF = _tag(b"EOF ")
_UNDECODABLE = {
    _tag(text) for text in (b"INDA", b"PAWE", b"\xf8DEC", b"\xf8DEM", b"\xf8BSF", b"\xf8STR")
}
_NO_PROTOCOL, _UNAUTHORIZED = _tag(b"\xf8PRO"), _tag(b"\xf8401")
_CLOSED = "the connection was closed before the stream started. Check the sender and the network."
_LOST = "the connection was lost. Check the sender and the network."
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EADDRNOTAVAIL)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)

_CAUSES: dict[int, tuple[type[SourceError], str]] = {
    _tag(b"\xf8403"): (
        AuthError,
        "the server denies this user access (403). Check the user and its rights.",
    ),
    _tag(b"\xf8404"): (
        NotFound,
        "the server has no stream at this path (404). Check the path of the address.",
    ),
    _tag(b"\xf8400"): (SourceError, "the server refuses the stream (400, bad request)."),
    _tag(b"\xf8429"): (SourceError, "the server refuses the stream (429, too many requests)."),
    _tag(b"\xf84XX"): (SourceError, "the server refuses the stream (4xx)."),
    _tag(b"\xf85XX"): (SourceError, "the server failed (5xx, an error of its own)."),
    errno.EPROTONOSUPPORT: (
        SourceError,
        "the sender does not offer its stream that way. Enable RTSP over TCP there, or use "
        "--rtsp-transport auto.",
    ),
    errno.ECONNREFUSED: (
        NetworkError,
        "the connection was refused. Check the host and the port, and that the sender runs.",
    ),
    errno.ETIMEDOUT: (SourceTimeout, "the network timed out. Check the cable and the sender."),
    **dict.fromkeys(
        _UNREACHABLE,
        (NetworkError, "the host cannot be reached. Check the address, the cable and the network."),
    ),
    **dict.fromkeys(
        _EXHAUSTED,
        (SourceError, "this machine has no memory or file handles left for a connection."),
    ),
}


def opening_failed(code: int, address: str, name: str) -> SourceError:
    """The error of a stream that could not be opened, though its time was not up.

    Of `address`, which may hold credentials, nothing gets into the message but its scheme.
    """
    if proxy := _proxy(address):
        return NetworkError(
            f"{name}: no answer through the proxy {proxy} that http_proxy names. Check the proxy, "
            "or leave the host out of it by no_proxy."
        )
    kind, why = _known(code, address)
    if not why and code == errno.EIO:
        why = _no_connection(address)
    elif not why and code in _UNDECODABLE:
        kind, why = _not_understood(address)
    return kind(f"{name}: {why or _CLOSED}")


def _proxy(address: str) -> str | None:
    """The proxy that FFmpeg takes for an address and that does not listen, without its password."""
    proxy = os.environ.get("http_proxy", "")
    if scheme_of(address) not in ("http", "https") or not proxy.startswith("http"):
        return None
    try:
        host = urlsplit(address).hostname or ""
        parts = urlsplit(proxy)
        if proxy_bypass(host):
            return None
        socket.create_connection((parts.hostname or "", parts.port or 80), 2).close()
    except OSError:
        return redact(proxy)
    except ValueError:  # no port, or no address at all
        return redact(proxy)
    return None


def reading_failed(code: int, name: str) -> SourceError:
    """The error of a stream that broke while it was read."""
    if code in (_EOF, errno.EIO):  # the latter over HTTP, where nothing announced the end
        return ended(name)
    if code in _UNDECODABLE:
        return CodecError(f"{name}: the data is not the stream that was announced.")
    kind, why = _known(code, "")
    return kind(f"{name}: {why or _LOST}")


def no_answer(name: str, limit_s: float) -> SourceTimeout:
    """Opening took too long."""
    return SourceTimeout(
        f"{name}: no answer within {limit_s:g} s. Check the address and that the sender runs."
    )


def fell_silent(name: str, limit_s: float) -> SourceTimeout:
    """Nothing came from an open stream."""
    return SourceTimeout(
        f"{name}: no data for {limit_s:g} s. Nothing came: check the sender and the network."
    )


def ended(name: str) -> SourceEnded:
    """The sender closed the stream."""
    return SourceEnded(f"{name}: the stream ended.")


def _known(code: int, address: str) -> tuple[type[SourceError], str]:
    """What a number means, whenever it comes; no words where that depends."""
    scheme = scheme_of(address)
    if code == _NO_PROTOCOL:
        return SourceError, f"the installed PyAV does not support {scheme or 'this protocol'}."
    if code != _UNAUTHORIZED:
        return _CAUSES.get(code, (NetworkError, ""))
    if "@" in address:
        why = "the user or the password is wrong (401). Check both; in an address @ : / are "
        return AuthError, why + "written as %40 %3A %2F."
    why = f"a user and a password are required (401). Write {scheme or 'rtsp'}://user:"
    return AuthError, why + "password@host/…"


def _no_connection(address: str) -> str:
    if not resolves(address):
        return "cannot resolve the host name. Check it, and that DNS works on this machine."
    if scheme_of(address) in ("rtsps", "https"):
        return (
            "TLS handshake failed. Check the port, and whether the sender wants the scheme "
            "without the s."
        )
    return "the connection broke while it was made. Check the sender."


def _not_understood(address: str) -> tuple[type[SourceError], str]:
    if scheme_of(address) in ("rtsp", "rtsps"):  # FFmpeg says so of a closed connection, too
        return NetworkError, (
            "the server does not speak RTSP, or closed the connection. Check the port, and that "
            "the sender has started."
        )
    return CodecError, (
        "the server's answer is not a video that can be decoded. Check the scheme, the port and "
        "the path of the address."
    )


def resolves(address: str) -> bool:
    """Whether an address's host resolves. Asks the name service; may block."""
    try:
        host = urlsplit(address).hostname
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # UnicodeError, of a name that cannot be one, is a ValueError
        return False
    return host is not None
