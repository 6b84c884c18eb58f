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
)
from edge.sources import faults

SECRET = "rtsp://joe:hunt2@door.invalid/stream"
PLAIN = "rtsp://127.0.0.1/stream"


_CODES: dict[str, int] = {kind.__name__: code for code, kind in vars(av.error)["classes"].items()}


def code_of(name: str) -> int:
    """FFmpeg's number of one of PyAV's errors."""
    return _CODES[name]


OPENING = [
    (code_of("HTTPUnauthorizedError"), AuthError, "the user or the password is wrong"),
    (code_of("HTTPForbiddenError"), AuthError, "denies this user"),
    (code_of("HTTPNotFoundError"), NotFound, "no stream at this path"),
    (code_of("HTTPBadRequestError"), SourceError, "400, bad request"),
    (code_of("HTTPOtherClientError"), SourceError, "refuses the stream (4xx)"),
    (code_of("HTTPServerError"), SourceError, "5xx, an error of its own"),
    (code_of("ProtocolNotFoundError"), SourceError, "does not support rtsp"),
    (errno.EPROTONOSUPPORT, SourceError, "over TCP"),
    (errno.ECONNREFUSED, NetworkError, "was refused"),
    (errno.EHOSTUNREACH, NetworkError, "cannot be reached"),
    (errno.ENETUNREACH, NetworkError, "cannot be reached"),
    (errno.ECONNRESET, NetworkError, "closed before the stream started"),
    (errno.EPIPE, NetworkError, "closed before the stream started"),
    (code_of("EOFError"), NetworkError, "closed before the stream started"),
    (errno.ETIMEDOUT, SourceTimeout, "network timed out"),
    (errno.EIO, NetworkError, "cannot resolve the host name"),
    (code_of("InvalidDataError"), NetworkError, "does not speak RTSP, or closed the connection"),
    (errno.EMFILE, SourceError, "file handles left"),
    (0, NetworkError, "closed before"),
    (code_of("UnknownError"), NetworkError, "closed before"),
]


@pytest.mark.parametrize(("code", "kind", "words"), OPENING)
def test_each_number_of_ffmpeg_becomes_one_error_with_a_sentence(
    code: int, kind: type[SourceError], words: str
) -> None:
    error = faults.opening_failed(code, SECRET, "door")
    assert type(error) is kind
    assert str(error).startswith("door: ")
    assert words in str(error)
    for secret in ("joe", "hunt2", "invalid"):
        assert secret not in str(error)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_is_no_video_over_http_is_a_matter_of_decoding(scheme: str) -> None:
    for name in (
        "InvalidDataError",
        "DecoderNotFoundError",
        "DemuxerNotFoundError",
        "PatchWelcomeError",
    ):
        error = faults.opening_failed(code_of(name), f"{scheme}://127.0.0.1/x", "door")
        assert type(error) is CodecError


def test_an_address_without_credentials_is_told_how_to_give_them() -> None:
    for scheme in ("rtsp", "https"):
        error = faults.opening_failed(
            code_of("HTTPUnauthorizedError"), f"{scheme}://127.0.0.1/x", "door"
        )
        assert isinstance(error, AuthError)
        assert f"Write {scheme}://user:password@host/…" in str(error)


def test_an_input_error_is_told_by_the_name_service_and_the_scheme() -> None:
    lost = faults.opening_failed(errno.EIO, "rtsps://no-such-host.invalid/x", "door")
    assert "cannot resolve the host name" in str(lost)
    bare = faults.opening_failed(errno.EIO, PLAIN, "door")
    assert "broke while it was made" in str(bare)
    encrypted = faults.opening_failed(errno.EIO, "rtsps://127.0.0.1/x", "door")
    assert "TLS handshake failed" in str(encrypted)
    assert {type(error) for error in (lost, bare, encrypted)} == {NetworkError}


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
        (code_of("EOFError"), SourceEnded, "door: the stream ended."),
        (errno.EIO, SourceEnded, "door: the stream ended."),
        (errno.ECONNRESET, NetworkError, "door: the connection was lost. "),
        (errno.ENETDOWN, NetworkError, "door: the connection was lost. "),
        (errno.ETIMEDOUT, SourceTimeout, "door: the network timed out. "),
        (code_of("InvalidDataError"), CodecError, "door: the data is not the stream"),
        (code_of("HTTPUnauthorizedError"), AuthError, "door: a user and a password are required"),
        (code_of("HTTPNotFoundError"), NotFound, "door: the server has no stream at this path"),
    ],
)
def test_what_breaks_while_reading(code: int, kind: type[SourceError], sentence: str) -> None:
    error = faults.reading_failed(code, "door")
    assert type(error) is kind
    assert str(error).startswith(sentence)


def test_every_sentence_says_what_happened_and_what_to_do() -> None:
    told = {
        faults.no_answer("door", 10.0): ("timeout", "no answer within 10 s"),
        faults.fell_silent("door", 2.5): ("timeout", "no data for 2.5 s"),
        faults.undecodable("door", 30.0): ("codec", "no intact frame for 30 s"),
        faults.no_video("door"): ("codec", "no video track"),
        faults.unknown_codec("door"): ("codec", "cannot be decoded here"),
        faults.ended("door"): ("ended", "the stream ended"),
    }
    for error, (fault, words) in told.items():
        assert error.fault == fault
        assert str(error).startswith("door: ")
        assert words in str(error)
