"""Logins in http addresses: given to the server that asks for them, and to no other."""

from __future__ import annotations

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


class _Careful:
    """Gives a login to nobody where what was `secret` under https would be sent in the open, which
    the passwords' manager does not look at.
    """

    secret = False

    def http_error_401(self, request: Any, refusal: Any, *rest: Any) -> Any:
        if self.secret and request.type != "https":
            return None
        try:
            answer = super().http_error_401(request, refusal, *rest)  # type: ignore[misc]  # mixed in
        except ValueError:  # it asks for none of this kind
            return None
        except OSError:
            refusal.close()
            raise
        if answer is not None:
            refusal.close()
        return answer


class _Basic(_Careful, HTTPBasicAuthHandler): ...


class _Digest(_Careful, HTTPDigestAuthHandler): ...
