from __future__ import annotations

import errno

import av
import pytest

from edge.errors import (
    AuthError,
    CodecError,
    NetworkError,
    NotFound,
    SourceEnded,
    SourceError,
    SourceTimeout,
    without_logins,
)
from edge.sources import faults

CODES: dict[str, int] = {kind.__name__: code for code, kind in vars(av.error)["classes"].items()}
"""FFmpeg's numbers by the names of PyAV's errors."""


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (CODES["HTTPUnauthorizedError"], AuthError, "the user or the password is wrong"),
        (CODES["HTTPBadRequestError"], SourceError, "400, bad request"),
        (CODES["ProtocolNotFoundError"], SourceError, "does not support rtsp"),
        (errno.EHOSTUNREACH, NetworkError, "cannot be reached"),
        (errno.ENETUNREACH, NetworkError, "cannot be reached"),
        (errno.ECONNRESET, NetworkError, "closed before the stream started"),
        (errno.EPIPE, NetworkError, "closed before the stream started"),
        (CODES["EOFError"], NetworkError, "closed before the stream started"),
        (errno.ETIMEDOUT, SourceTimeout, "network timed out"),
        (errno.EIO, NetworkError, "cannot resolve the host name"),
        (errno.EMFILE, SourceError, "file handles left"),
        (0, NetworkError, "closed before"),
        (CODES["UnknownError"], NetworkError, "closed before"),
    ],
)
def test_each_number_of_ffmpeg_becomes_one_error_with_a_sentence(
    code: int, kind: type[SourceError], words: str
) -> None:
    """Those that `test_streams.py` does not get from a server."""
    error = faults.opening_failed(code, "rtsp://joe:hunt2@door.invalid/stream", "door")
    assert type(error) is kind
    assert str(error).startswith("door: ")
    assert words in str(error)
    for secret in ("joe", "hunt2", "invalid"):
        assert secret not in str(error)


def test_what_the_scheme_tells_apart() -> None:
    for name in ("DecoderNotFoundError", "DemuxerNotFoundError", "PatchWelcomeError"):
        assert type(faults.opening_failed(CODES[name], "https://127.0.0.1/x", "x")) is CodecError
    unauthorized = CODES["HTTPUnauthorizedError"]
    for scheme in ("rtsp", "https"):
        error = faults.opening_failed(unauthorized, f"{scheme}://127.0.0.1/x", "door")
        assert f"Write {scheme}://user:password@host/…" in str(error)
    broke = faults.opening_failed(errno.EIO, "rtsp://127.0.0.1/stream", "door")
    assert "broke while it was made" in str(broke)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("rtsp://127.0.0.1:554/x", True),
        ("rtsp://joe:p%40ss@[::1]/x", True),
        ("http://no-such-host.invalid/", False),
        ("rtsp://[broken/x", False),
        ("rtsp:///x", False),
        ("rtsp://" + "x" * 80 + ".invalid/", False),
    ],
)
def test_the_name_service_is_asked_for_the_host_alone(address: str, found: bool) -> None:
    assert faults.resolves(address) is found


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        (CODES["EOFError"], SourceEnded, "door: the stream ended."),
        (errno.EIO, SourceEnded, "door: the stream ended."),
        (errno.ECONNRESET, NetworkError, "door: the connection was lost. "),
        (errno.ENETDOWN, NetworkError, "door: the connection was lost. "),
        (errno.ETIMEDOUT, SourceTimeout, "door: the network timed out. "),
        (CODES["InvalidDataError"], CodecError, "door: the data is not the stream"),
        (CODES["HTTPUnauthorizedError"], AuthError, "door: a user and a password are required"),
        (CODES["HTTPNotFoundError"], NotFound, "door: the server has no stream at this path"),
    ],
)
def test_what_breaks_while_reading(code: int, kind: type[SourceError], sentence: str) -> None:
    error = faults.reading_failed(code, "door")
    assert type(error) is kind
    assert str(error).startswith(sentence)


def test_a_login_with_a_space_in_place_of_its_colon_is_hidden() -> None:
    assert without_logins("no http://joe secret@host/x") == "no http://***@host/x"
    assert without_logins("http://host said no") == "http://host said no"


def test_a_proxy_that_does_not_listen_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:hush@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    for address in ("http://127.0.0.2:8080/a", "https://127.0.0.2:8443/a"):
        said = str(faults.opening_failed(errno.ECONNREFUSED, address, "door"))
        assert "127.0.0.1:9" in said and "http_proxy" in said and "hush" not in said
    rtsp = str(faults.opening_failed(errno.ECONNREFUSED, "rtsp://127.0.0.2:8554/a", "door"))
    assert "proxy" not in rtsp
    monkeypatch.setenv("no_proxy", "127.0.0.2")
    said = str(faults.opening_failed(errno.ECONNREFUSED, "http://127.0.0.2:8080/a", "door"))
    assert "the connection was refused" in said
