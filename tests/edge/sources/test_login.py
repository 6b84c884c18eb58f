from __future__ import annotations

import io
from email.message import Message
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, build_opener

import pytest

from edge.sources.login import without_login


@pytest.mark.parametrize(("scheme", "is_given"), [("https", True), ("http", False)])
def test_a_login_of_https_is_not_sent_in_the_open(
    scheme: str, is_given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, handlers = without_login("https://joe:hush@cam.local/a")
    assert bare == "https://cam.local/a"
    opener, sent = build_opener(*handlers), list[Any]()
    monkeypatch.setattr(opener, "open", lambda request, **_: sent.append(request))
    headers = Message()
    headers["WWW-Authenticate"] = 'Basic realm="camera"'
    request = Request(f"{scheme}://cam.local/b")
    request.timeout = 1.0
    refusal = HTTPError(request.full_url, 401, "", headers, io.BytesIO())
    basic: Any = handlers[-1]
    basic.http_error_401(request, refusal, 401, "", headers)
    assert [bool(asked.get_header("Authorization")) for asked in sent] == [True] * is_given
