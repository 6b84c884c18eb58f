"""Incidents posted to a web address as signed JSON, tried again until it takes them."""

from __future__ import annotations

import hmac
import json
import logging
import threading
import time
from collections import deque
from http.client import HTTPException
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import Field, SecretStr, field_validator
from typing_extensions import Self

from edge.decision.alerts import AlertSettings
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.feed import EventFeed, Record
from edge.sources.address import ascii_address
from edge.sources.login import without_login
from edge.types import Picture, Result

log = logging.getLogger(__name__)

_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE_S = 60.0
_LEAVE_S = 1.5


class WebhookOptions(AlertSettings):
    """Where incidents are posted, and which verdicts are incidents."""

    url: SecretStr = Field(description="http or https; may hold a secret, so as ${NAME}.")
    secret: SecretStr | None = Field(default=None, description="Signs each body; as ${NAME}.")
    timeout_s: float = Field(default=10.0, gt=0, description="For one try.")
    tries: int = Field(default=10, gt=0, description="Before an event is given up.")
    pause_s: float = Field(default=1.0, gt=0, description="After the first try; it doubles.")
    queue: int = Field(default=100, gt=0, description="Most events that wait; the oldest goes.")

    @field_validator("url")
    @classmethod
    def _is_web(cls, url: SecretStr) -> SecretStr:
        try:
            return SecretStr(ascii_address(url.get_secret_value()))
        except ValueError:  # UnicodeError is one
            raise ValueError(
                "expected an address that begins with http:// or https://, a host and perhaps a "
                "port."
            ) from None

    @property
    def place(self) -> str:
        """The host, which may be shown."""
        return str(urlsplit(self.url.get_secret_value()).hostname)


class _NoRedirects(HTTPRedirectHandler):
    """A signed body is for one address alone."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


class WebhookSink(ConfiguredSink):
    """Posts the incidents of one camera, in order, from a thread of its own.

    The body is as `to_event_record` documents it: once when an incident is raised (`ended` null)
    and once when it is over. `X-Patchwatch-Signature` is `sha256=` and the HMAC-SHA256 by the
    secret of `X-Patchwatch-Timestamp` (Unix seconds), a full stop and the body, in hexadecimal.
    """

    name = "webhook"

    def __init__(self, options: WebhookOptions, camera: str) -> None:
        self._options, self._camera = options, camera
        self._feed = EventFeed(options, camera)
        self._waiting: deque[Record] = deque(maxlen=options.queue)
        self._changed = threading.Condition()
        self._leaving = threading.Event()
        self._url, logins = without_login(options.url.get_secret_value())
        self._open = build_opener(_NoRedirects(), *logins).open
        self._thread: threading.Thread | None = None

    @classmethod
    def from_options(cls, options: WebhookOptions, context: SinkContext) -> Self:
        """From `sinks.webhook`."""
        return cls(options, context.name)

    def __enter__(self) -> Self:
        """Start the thread; what waits from before is posted still."""
        self._feed.restart()
        self._leaving.clear()
        self._thread = threading.Thread(target=self._run, name="patchwatch-webhook", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Post what is over now, for a moment; what cannot be posted by then is lost."""
        for record in self._feed.finish():
            self._put(record)
        with self._changed:
            self._leaving.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_LEAVE_S)
        if self._waiting:
            log.warning("%s: %d events were not posted", self._camera, len(self._waiting))

    def write(self, result: Result, picture: Picture) -> None:
        """Queue the events of a result; never waits for the network."""
        for record in self._feed.take(result):
            self._put(record)

    def _put(self, record: Record) -> None:
        with self._changed:
            if len(self._waiting) == self._options.queue:
                log.warning("%s: an event was lost: too many wait to be posted", self._camera)
            self._waiting.append(record)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._leaving.is_set())
                if not self._waiting:
                    return
                record = self._waiting[0]
            if not self._delivered(record):
                return
            with self._changed:
                if self._waiting and self._waiting[0] is record:
                    self._waiting.popleft()

    def _delivered(self, record: Record) -> bool:
        """Post until it is taken or given up; False where the run ends before."""
        pause_s = self._options.pause_s
        for left in range(self._options.tries - 1, -1, -1):
            problem, again = self._post(record)
            if problem is None:
                return True
            if not (again and left):
                log.warning("%s: an event is given up: %s", self._camera, problem)
                return True
            log.info("%s: an event is posted again in %g s: %s", self._camera, pause_s, problem)
            if self._leaving.wait(pause_s):
                return False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return True

    def _post(self, record: Record) -> tuple[str | None, bool]:
        """Post once; why it failed, None if it did not, and whether another try may help."""
        request = self._request(json.dumps(record).encode())
        place = self._options.place
        try:
            with self._open(request, timeout=self._options.timeout_s):
                return None, False
        except HTTPError as error:
            error.close()
            return f"{place} answers {error.code}", error.code in _AGAIN
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            return f"{place} cannot be reached ({reason})", True

    def _request(self, body: bytes) -> Request:
        stamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", "X-Patchwatch-Timestamp": stamp}
        if self._options.secret:
            key = self._options.secret.get_secret_value().encode()
            digest = hmac.new(key, stamp.encode() + b"." + body, "sha256").hexdigest()
            headers["X-Patchwatch-Signature"] = f"sha256={digest}"
        return Request(self._url, body, headers, method="POST")
