from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import AuthError
from edge.sources import open_source, redact
from edge.sources.address import is_split_early


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
    ("url", "split"),
    [
        ("rtsp://joe:se#cret@cam/stream", True),
        ("http://joe:se/cret@cam:8080/film.mp4", True),
        ("http://joe:se?cret@cam", True),
        ("http://joe:secret@cam/a@b", False),
        ("http://cam:8080/joe@home", False),
        ("http://cam/joe:x@home", False),
        ("rtsp://[::1]/joe@home", False),
        ("http://cam:/joe@home", False),
    ],
)
def test_a_mark_that_ends_the_password_early_is_found(url: str, split: bool) -> None:
    assert is_split_early(url) is split


@pytest.mark.parametrize("name", ["a.jpg", "a.mp4", "stream"])
def test_it_is_said_before_anything_is_asked(name: str) -> None:
    with pytest.raises(AuthError, match=r"^http://\*\*\*@127\.0\.0\.1:9/.*%23"):
        open_source(f"http://joe:se#cret@127.0.0.1:9/{name}")
