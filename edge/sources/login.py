"""Logins in http addresses: given to the server that asks for them, and to no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    BaseHandler,
    HTTPBasicAuthHandler,
    HTTPDigestAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
)


def without_login(url: str) -> tuple[str, list[BaseHandler]]:
    """An http address without its login, and what gives that, Basic or Digest, to its server alone.

    It is given where that server asks for it, and to no other that redirects lead to.
    """
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host))
    if not login:
        return bare, []
    user, _, password = map(unquote, login.partition(":"))
    known = HTTPPasswordMgrWithDefaultRealm()
    known.add_password(None, f"{parts.scheme}://{host}/", user, password)
    digest, basic = _Digest(known), _Basic(known)
    digest.secret = basic.secret = parts.scheme == "https"
    return bare, [digest, basic]


class _Basic(HTTPBasicAuthHandler):
    secret = False

    def http_error_401(self, request: Any, *asked: Any) -> Any:
        return _answer(super().http_error_401, self.secret, request, *asked)


class _Digest(HTTPDigestAuthHandler):
    secret = False

    def http_error_401(self, request: Any, *asked: Any) -> Any:
        return _answer(super().http_error_401, self.secret, request, *asked)


def _answer(
    ask_again: Callable[..., Any], secret: bool, request: Any, refusal: Any, *rest: Any
) -> Any:
    """What a server gives to a login; None where it asks for none of this kind, or where what was
    `secret` under https would be sent in the open, which the passwords' manager does not look at.
    """
    if secret and request.type != "https":
        return None
    try:
        answer = ask_again(request, refusal, *rest)
    except ValueError:
        return None
    except OSError:
        refusal.close()
        raise
    if answer is not None:
        refusal.close()
    return answer
