"""Addresses of streams: their scheme, and how to show them without their credentials."""

from __future__ import annotations

import re

HIDDEN = "***"

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


def redact(url: str) -> str:
    """An address that is fit to be shown.

    Hides the user and the password before the host, and the values of keys that are likely to hold
    a secret (`password=`, `token=`, `X-Amz-Signature=`, …) wherever they stand. In doubt it hides
    too much. A text without either comes back as it is.

    Args:
        url: an address, complete or mistyped.
    """
    scheme, authority, rest = _PARTS.fullmatch(url).groups()  # type: ignore[union-attr]  # matches all
    if not scheme and not re.search(r":.*@", url, re.DOTALL):
        return _hide_values(url)  # a path, which may well hold an '@'
    if _HOST.fullmatch(authority.rpartition("@")[2]):
        # Before the next step, so that an '@' in such a value is not taken for the host's.
        rest = _hide_values(rest)
    # An unescaped password may hold '@', '/', '?' and '#', so only the last '@' of all is trusted.
    _, at, shown = f"{authority}{rest}".rpartition("@")
    return scheme + (f"{HIDDEN}@" if at else "") + _hide_values(shown)


def _hide_values(text: str) -> str:
    return _SECRET.sub(lambda match: f"{match[1]}={HIDDEN}", text)
