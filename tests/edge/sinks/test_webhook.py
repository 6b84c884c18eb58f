from __future__ import annotations

import base64
import hmac
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edge.config import build_config
from edge.errors import ConfigError
from edge.sinks import make_sinks
from edge.sinks.base import SinkContext
from edge.sinks.webhook import WebhookSink
from edge.types import Picture, State
from tests.edge.sinks.results import make_result, plain
from tests.fakes import wait_for

NOW = 1_700_000_000.0


class Receiver:
    """Answers with the codes in turn, the last one for ever, and keeps what was posted."""

    def __init__(self, *codes: int) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self._codes = list(codes)

    def answer(self) -> int:
        return self._codes.pop(0) if len(self._codes) > 1 else self._codes[0]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.posts]


@contextmanager
def receiving(
    *codes: int, target: str = "/elsewhere", login: str = ""
) -> Iterator[tuple[Receiver, str]]:
    """A server that answers so, and 401 without the login; redirects lead to the target."""
    receiver = Receiver(*codes)
    wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            known = self.headers["Authorization"] == wanted
            if known:
                receiver.posts.append((dict(self.headers) | {"path": self.path}, body))
            self.send_response(code := receiver.answer() if known else 401)
            if not known:
                self.send_header("WWW-Authenticate", 'Basic realm="hooks"')
            if 300 <= code < 400:
                self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # so that closing it waits for them
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield (
                receiver,
                f"http://{login}{'@' * bool(login)}127.0.0.1:{server.server_port}/hook?key=hunter2",
            )
        finally:
            server.shutdown()
            thread.join()


def make(url: str, **options: Any) -> WebhookSink:
    keys = {"url": url, "debounce_s": 0, "cooldown_s": 0, "pause_s": 0.01, **options}
    config = build_config({"source": "0", "sinks": {"webhook": keys}})
    (sink,) = make_sinks(config, SinkContext("Front door"))
    assert isinstance(sink, WebhookSink)
    return sink


def incident(sink: WebhookSink, at_s: float = 0.0) -> None:
    red = plain(48, 64, (0, 0, 255))
    states: tuple[State, ...] = ("fake", "real")
    for second, state in enumerate(states):
        result = make_result(red, second, "door", NOW + at_s + second, None, state, threshold=0.6)
        sink.write(result, Picture.of(red))


def test_an_incident_is_posted_when_it_is_raised_and_when_it_is_over_and_signed() -> None:
    with receiving(200) as (receiver, url):
        with make(url, secret="our secret") as sink:
            incident(sink)
            wait_for(lambda: len(receiver.posts) == 2)
        raised, over = receiver.records
        assert (raised["source"], raised["state"], raised["ended"]) == ("Front door", "fake", None)
        assert over["id"] == raised["id"] and over["ended"] == raised["began"] + 1
        assert over["threshold"] == raised["threshold"] == 0.6
        headers, body = receiver.posts[0]
        signed = headers["X-Patchwatch-Timestamp"].encode() + b"." + body
        digest = hmac.new(b"our secret", signed, "sha256").hexdigest()
        assert headers["X-Patchwatch-Signature"] == f"sha256={digest}"


def test_what_may_pass_is_posted_again_and_in_order(caplog: pytest.LogCaptureFixture) -> None:
    codes = [408, 425, 429, 500, 502, 503, 504]
    with caplog.at_level(logging.INFO), receiving(*codes, 200) as (receiver, url):
        with make(url) as sink:
            incident(sink)
            wait_for(lambda: len(receiver.posts) == 9)
        assert [record["ended"] is None for record in receiver.records] == [True] * 8 + [False]
    assert all(f"answers {code}" in caplog.text for code in codes)
    assert "hunter2" not in caplog.text


def test_a_refusal_is_not_repeated_and_no_redirect_followed() -> None:
    codes = [400, 401, 404, 505, 301, 302, 303, 307, 308]
    with (
        receiving(200) as (other, elsewhere),
        receiving(*codes, target=elsewhere, login="joe:secret") as (receiver, url),
    ):
        with make(url, secret="our secret") as sink:
            for number in range(5):
                incident(sink, 2.0 * number)
            wait_for(lambda: len(receiver.posts) >= 10)
        raised = [record["id"] for record in receiver.records]
        assert raised[::2] == raised[1::2] and len(set(raised)) == 5
        assert len(receiver.posts) == 10 and other.posts == []


def test_pauses_double_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Leaving(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return False

    with receiving(503) as (receiver, url):
        sink = make(url, tries=9, pause_s=1.0)
        sink._leaving = Leaving()
        with sink:
            incident(sink)
            wait_for(lambda: len(receiver.posts) == 18)
    assert pauses == 2 * [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_login_is_given_when_the_receiver_asks(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(200, login="joe:secret") as (receiver, url):
        with make(url) as sink:
            incident(sink)
            wait_for(lambda: len(receiver.posts) == 2)
        with make(url.replace("secret", "wrong")) as sink:
            incident(sink)
            wait_for(lambda: "an event is given up" in caplog.text)
        assert len(receiver.posts) == 2
    assert "answers 401" in caplog.text and "wrong" not in caplog.text


def test_what_comes_while_the_oldest_is_posted_and_dropped_is_posted_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on, posted = threading.Event(), threading.Event(), list[dict[str, Any]]()

    def post(record: dict[str, Any]) -> tuple[str | None, bool]:
        begun.set()
        assert go_on.wait(30)
        posted.append(record)
        return None, False

    with make("http://127.0.0.1:1/", queue=2) as sink:
        monkeypatch.setattr(sink, "_post", post)
        incident(sink)
        assert begun.wait(30)
        incident(sink, 10.0)
        go_on.set()
        wait_for(lambda: len(posted) == 3)
    assert [record["ended"] is None for record in posted] == [True, True, False]
    assert posted[0]["id"] != posted[1]["id"] == posted[2]["id"]


def test_an_address_may_have_any_characters() -> None:
    with receiving(200) as (receiver, url):
        with make(url.replace("/hook?key=hunter2", "/tür bell?wo=hinten ö")) as sink:
            incident(sink)
            wait_for(lambda: len(receiver.posts) == 2)
        assert receiver.posts[0][0]["path"] == "/t%C3%BCr%20bell?wo=hinten%20%C3%B6"
    assert make("https://bücher.example/x")._url == "https://xn--bcher-kva.example/x"


def test_who_is_absent_costs_the_loop_nothing_and_the_queue_is_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with make("http://127.0.0.1:9/x?key=hunter2", queue=3, pause_s=60) as sink:
        for second in range(0, 20, 2):
            incident(sink, second)
    assert "an event was lost" in caplog.text and "3 events were not posted" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "url",
    ["ftp://joe:hunter2@host/", "http://joe:hunter2@/x", "http://host:hunter2/", "http://a..b/"],
)
def test_an_address_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"webhook\.url: expected an address") as refused:
        make(url)
    assert "hunter2" not in str(refused.value)
