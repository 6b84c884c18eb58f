from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sources import redact
from edge.sources.address import scheme_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://10.0.0.7:554/cam?channel=1", "rtsp://10.0.0.7:554/cam?channel=1"),
        ("rtsp://joe:secret@cam/live", "rtsp://***@cam/live"),
        ("rtsp://joe@cam/live", "rtsp://***@cam/live"),
        ("rtsp://joe:p@ss@cam/live", "rtsp://***@cam/live"),
        ("rtsp://joe:p/a?s#s@cam/live", "rtsp://***@cam/live"),
        ("RTSP://joe:secret@cam", "RTSP://***@cam"),
        ("http://cam/a?user=joe&password=hunter2&ch=3", "http://cam/a?user=***&password=***&ch=3"),
        ("http://cam/a?ACCESS_TOKEN=abc", "http://cam/a?ACCESS_TOKEN=***"),
        ("https://s3/v.mp4?X-Amz-Signature=ab/c&e=1", "https://s3/v.mp4?X-Amz-Signature=***&e=1"),
        ("rtsp://cam/user=joe&password=hunter2&channel=1", None),
        ("rtsp://cam/user=joe_password=hunter2_channel=1.sdp", None),
        ("joe:hunter2@cam/live", "***@cam/live"),
        ("rtsp:/joe:hunter2@cam/live", "rtsp:/***@cam/live"),
        ("rtsp:joe:hunter2@cam/live", "***@cam/live"),
        ("http://cam/a?password=hunter2@x&ch=3", "http://cam/a?password=***&ch=3"),
        ("http://joe:b@cam/a?password=hunter2@x", "http://***@cam/a?password=***"),
        ("http://[fe80::1]:80/a?key=hunter2", "http://[fe80::1]:80/a?key=***"),
        ("holiday/clip.mp4", "holiday/clip.mp4"),
        ("icons/logo@2x.png", "icons/logo@2x.png"),
    ],
)
def test_redact(url: str, shown: str | None) -> None:
    if shown is not None:
        assert redact(url) == shown
    assert "hunter2" not in redact(url)
    assert "joe" not in redact(url)


def secrets(without: str) -> st.SearchStrategy[str]:
    """Words of visible ASCII, as people choose passwords."""
    return st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=without))


@given(user=secrets(without="="), password=secrets(without="="))
def test_no_part_of_a_user_or_password_survives(user: str, password: str) -> None:
    assert redact(f"rtsp://{user}:{password}@cam/live") == "rtsp://***@cam/live"


@given(password=secrets(without="&;"))
def test_no_part_of_a_secret_in_the_query_survives(password: str) -> None:
    shown = "http://cam:80/a?password=***&n=1"
    assert redact(f"http://cam:80/a?password={password}&n=1") == shown


@pytest.mark.parametrize(
    ("text", "scheme"),
    [("RTSP://x", "rtsp"), ("https://x", "https"), ("a/b.mp4", None), ("C:/a", None), ("0", None)],
)
def test_scheme(text: str, scheme: str | None) -> None:
    assert scheme_of(text) == scheme
