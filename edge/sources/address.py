"""Addresses of streams: their scheme, and how to show them without their credentials."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

from edge.errors import HIDDEN, without_logins

_LITERAL = "/%:@!$&'()*+,;=~"

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# Also of a mistyped address, such as rtsp:/joe:secret@cam.
_PARTS = re.compile(r"((?:[a-z][a-z0-9+.-]*:/{1,2})?)([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.IGNORECASE)
_SECRET_WORDS = (
    r"pass|pwd|psw|token|secret|auth|key|sig|cred|session|login|usr|user|account|jwt|code"
)
# Cameras take them in the path too: …/user=admin&password=….
_SECRET = re.compile(
    rf"(?<![a-z0-9])([\w.%-]*(?:{_SECRET_WORDS})[\w.%-]*|p|pw|u|un)=[^&;\s]*", re.IGNORECASE
)


def scheme_of(text: str) -> str | None:
    """The scheme of an address in lower case, for instance "rtsp"; None where it has none."""
    match = _SCHEME.match(text)
    return match[1].lower() if match else None


def is_split_early(url: str) -> bool:
    """Whether a raw # / or ? in user or password comes before the @ that ends them."""
    rest = url.partition("://")[2]
    place = min((rest.find(mark) for mark in "#/?" if mark in rest), default=len(rest))
    early, late = rest[:place], rest[place:]
    # With a port, or as a numeric host, it ends as it should.
    is_host = _HOST.fullmatch(early) is not None or early.endswith(":")
    return "@" not in early and "@" in late and ":" in early and not is_host


def redact(url: str) -> str:
    """An address that is fit to be shown.

    Hides the user and the password before the host, and the values of keys that are likely to hold
    a secret (`password=`, `token=`, `X-Amz-Signature=`, …) wherever they stand, also of a mistyped
    address. In doubt it hides too much.
    """
    scheme, authority, rest = _PARTS.fullmatch(url).groups()  # type: ignore[union-attr]  # matches all
    if not scheme and not re.search(r":.*@", url, re.DOTALL):
        return _hide_values(url)  # a path, which may well hold an '@'
    if _HOST.fullmatch(authority.rpartition("@")[2]):
        # Before the next step, so that an '@' in such a value is not taken for the host's.
        rest = _hide_values(rest)
    # An unescaped password may hold '@', '/', '?' and '#', so only the last '@' of all is trusted.
    _, at, shown = f"{authority}{rest}".rpartition("@")
    return without_logins(scheme + (f"{HIDDEN}@" if at else "") + _hide_values(shown))


def ascii_address(url: str) -> str:
    """The same http address in ASCII, as servers take it: its host by IDNA, the rest by percents.

    Raises:
        ValueError: it is none: no http or https, no host, a port that is none.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("no http or https address")
    name = f"[{host}]" if ":" in host else host.encode("idna").decode()
    login = parts.netloc.rpartition("@")[0]
    place = f"{quote(login, _LITERAL)}@{name}" if login else name
    place += "" if port is None else f":{port}"
    path, query = quote(parts.path, _LITERAL), quote(parts.query, _LITERAL + "?")
    return urlunsplit((parts.scheme, place, path, query, ""))


def _hide_values(text: str) -> str:
    return _SECRET.sub(lambda match: f"{match[1]}={HIDDEN}", text)
