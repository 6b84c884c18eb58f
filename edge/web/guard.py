"""Who may ask for what: token, cookie, origin, rates and the headers of every answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.config.parts import WebConfig
from edge.errors import UsageError

COOKIE = "patchwatch"
OPEN = {"/healthz", "/readyz"}
"""Paths that need no token."""

_TOKEN = "PATCHWATCH_WEB_TOKEN"
_LEAST_TOKEN = 16
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_MOST_FORM = 4096
_CSS = ":root{color-scheme:light dark}"
_CSS += "body{font:1rem system-ui;margin:20vh auto;max-width:22rem;padding:1rem}"
_CSS += "input,button{font:inherit;padding:.5rem;width:100%;margin:.5rem 0;box-sizing:border-box}"
_CSS_HASH = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
_LOGIN = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Patchwatch</title>'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
    f"<style>{_CSS}</style><main><h1>Patchwatch</h1><p>REASON</p>"
    '<form method="post" action="/login"><label>Token<input name="token" type="password" '
    'autocomplete="current-password" required autofocus></label><button>Open</button></form></main>'
)


def read_token(config: WebConfig, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token that is asked for; None for none.

    Raises:
        UsageError: it cannot be read or is short, or none is there where other machines are served.
    """
    token = environment.get(_TOKEN, "").strip() or None
    if config.token_file is not None:
        token = _read(config.token_file)
    if token is not None and not (len(token) >= _LEAST_TOKEN and token.isascii()):
        raise UsageError(
            f"the token of the page is weak: expected {_LEAST_TOKEN} plain characters or more, "
            f"found {len(token)}. Make one with: openssl rand -hex 16"
        )
    host = (config.address or "").rpartition(":")[0]
    if token is None and host not in _LOOPBACK and not config.insecure:
        raise UsageError(
            f"--web {config.address} serves other machines, and there is no token. Set {_TOKEN}, "
            "name a file with --web-token, or say --insecure."
        )
    return token


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"{path}: the token cannot be read: {why}.") from error


class Rate:
    """At most `burst` calls at once, and then one each `every_s` seconds, for each caller."""

    def __init__(self, burst: int, every_s: float) -> None:
        self._burst, self._every_s = burst, every_s
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str) -> bool:
        """Whether a caller may go on now."""
        now = time.monotonic()
        left, at = self._callers.pop(caller, (float(self._burst), now))
        left = min(self._burst, left + (now - at) / self._every_s)
        self._callers[caller] = max(0.0, left - 1), now
        if len(self._callers) > 10_000:
            self._callers.popitem(last=False)
        return left >= 1


class Guard:
    """Stands before an application: refuses, or lets through with the headers of a safe page.

    Args:
        app: what is guarded.
        token: as `read_token` gives it.
        loopback: whether this machine alone is served, so that other names for it are refused (a
            page elsewhere may have one that leads here).
        tls: whether the cookie may go over TLS alone.
    """

    def __init__(self, app: ASGIApp, token: str | None, loopback: bool, tls: bool) -> None:
        self._app, self._token, self._loopback, self._tls = app, token, loopback, tls
        # The cookie holds no token, and fits no other run's.
        self._cookie = "" if token is None else _digest(token, "cookie of the page")
        self._logins, self._uploads = Rate(10, 6.0), Rate(20, 2.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        answer: ASGIApp | None = await self._refusal(Request(scope, receive))
        await (answer or self._app)(scope, receive, _with_headers(send))

    async def _refusal(self, request: Request) -> Response | None:
        headers, path = request.headers, request.url.path
        if path in OPEN:
            return None
        if (
            self._loopback
            and self._token is None
            and _name(headers.get("host", "")) not in _LOOPBACK
        ):
            return _problem(
                421, "this page is served to this machine alone, by the name localhost."
            )
        if request.method not in ("GET", "HEAD") and not _same_origin(headers):
            return _problem(403, "the request comes from another site.")
        caller = request.client.host if request.client else ""
        if path == "/login" and request.method == "POST":
            return await self._login(request, caller)
        if not self._knows(headers):
            if path == "/" or path == "/picture":
                return _login_page("This page asks for its token.")
            return _problem(401, "expected the token: Authorization: Bearer TOKEN.")
        if request.method == "POST" and not self._uploads.allows(caller):
            return _problem(429, "too many uploads: wait some seconds.", {"Retry-After": "5"})
        return None

    def _knows(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(given.strip(), self._token):
            return True
        jar = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return COOKIE in jar and _equal(jar[COOKIE].value, self._cookie)

    async def _login(self, request: Request, caller: str) -> Response:
        if not self._logins.allows(caller):
            return _problem(429, "too many tries: wait some seconds.", {"Retry-After": "10"})
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_FORM:
                return _problem(413, "the form is too long.")
        given = _field(body, "token")
        if self._token is None or not _equal(given, self._token):
            return _login_page("That is not the token.")
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE, self._cookie, httponly=True, samesite="strict", secure=self._tls
        )
        return response


def _login_page(reason: str) -> Response:
    return HTMLResponse(_LOGIN.replace("REASON", reason), 401)


def _digest(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


def _field(body: bytes, name: str) -> str:
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    return fields.get(name, [""])[0].strip()


def _name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return (name if port.isdecimal() else host).lower()


def _same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none"):
        return False
    return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()


def _problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"detail": text}, status, headers)


_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{}; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


_INLINE = f" 'sha256-{_CSS_HASH}'"


def _with_headers(send: Send) -> Send:
    """The same, with headers that a browser keeps a page safe by."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            refused = message["status"] == 401
            headers["Content-Security-Policy"] = _POLICY.format(_INLINE if refused else "")
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
