from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import urllib3

from tests.training.data.get.server import Site, serve, tag
from training.data.get.download import RETRIES, download
from training.data.get.errors import AddressError, FetchError

DATA = np.random.default_rng(0).bytes(700_001)
SHA256 = hashlib.sha256(DATA).hexdigest()
AT_ONCE = RETRIES.new(backoff_factor=0)


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site({"a.zip": DATA})) as served:
        yield served


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a.zip"


def fetch(site: Site, target: Path, retries: urllib3.Retry = AT_ONCE) -> None:
    download(f"{site.address}/a.zip", target, SHA256, retries=retries)
    assert target.read_bytes() == DATA and sorted(target.parent.iterdir()) == [target]


def leave(site: Site, target: Path, size: int, note: str | None = None) -> None:
    """A part as an earlier run leaves it."""
    _part(target).write_bytes(DATA[:size])
    text = f"{site.address}/a.zip\n{tag(DATA)}" if note is None else note
    target.with_name("a.zip.part.tag").write_text(text)


def _part(target: Path) -> Path:
    return target.with_name("a.zip.part")


def test_a_file_comes_whole_and_its_progress_is_given(site: Site, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download(f"{site.address}/a.zip", target, None, lambda *amount: seen.append(amount))
    assert target.read_bytes() == DATA
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))


def test_it_goes_on_from_where_it_stopped(site: Site, target: Path) -> None:
    leave(site, target, 300_000)
    fetch(site, target)
    assert site.asked == [("a.zip", "bytes=300000-", 206)]


def test_a_connection_that_breaks_is_taken_up_again_while_anything_comes(
    site: Site, target: Path
) -> None:
    site.cuts = 4
    fetch(site, target)
    assert [status for *_, status in site.asked] == [200, 206, 206, 206, 206]
    target.unlink()
    site.ranges, site.cuts = False, 9
    with pytest.raises(AddressError, match=r"is kept.*run the same command again"):
        fetch(site, target)


def test_a_server_that_cannot_go_on_begins_again(site: Site, target: Path) -> None:
    site.ranges = False
    leave(site, target, 300_000)
    fetch(site, target)
    assert site.asked[-1][2] == 200


def test_a_file_that_changed_begins_again(site: Site, target: Path) -> None:
    leave(site, target, 300_000)
    site.files["a.zip"] = DATA[::-1]
    download(f"{site.address}/a.zip", target)
    assert target.read_bytes() == DATA[::-1] and site.asked[-1][2] == 200


@pytest.mark.parametrize("note", ["", "http://elsewhere/a.zip\ntag", "strange"])
def test_a_part_of_another_file_begins_again(site: Site, target: Path, note: str) -> None:
    leave(site, target, 300_000, note)
    fetch(site, target)
    assert site.asked == [("a.zip", None, 200)]


def test_a_part_that_is_whole_already_is_found_so(site: Site, target: Path) -> None:
    leave(site, target, len(DATA))
    fetch(site, target)
    assert site.asked[-1][2] == 416


def test_a_busy_server_is_asked_again_until_it_is_given_up(site: Site, target: Path) -> None:
    site.failures = [500, 502, 503, 429]
    fetch(site, target)
    target.unlink()
    site.failures = [500] * 9
    with pytest.raises(AddressError, match=r"could not be fetched: .*too many 500 error"):
        fetch(site, target)


@pytest.mark.parametrize(
    "status,text", [(404, "is not there"), (403, "not open to everyone"), (401, "--from")]
)
def test_a_refusal_is_one_clear_message(site: Site, target: Path, status: int, text: str) -> None:
    site.failures = [status]
    with pytest.raises(AddressError, match=text):
        fetch(site, target)
    assert len(site.asked) == 1


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_page_instead_of_the_file_is_said_and_harms_nothing(
    site: Site, target: Path, kind: str
) -> None:
    site.kind = kind
    site.files["a.zip"] = b"<!DOCTYPE html><form>Download anyway?</form>"
    with pytest.raises(AddressError, match=r"page for people.*--from FILE"):
        fetch(site, target)
    site.kind, site.files["a.zip"] = "application/zip", DATA
    fetch(site, target)


def test_wrong_bytes_are_deleted(site: Site, target: Path) -> None:
    site.files["a.zip"] = b"something else"
    other = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(FetchError, match=f"its sha256 is {other}, expected {SHA256}. It was del"):
        fetch(site, target)
    assert not list(target.parent.iterdir())


def test_nobody_at_the_address_is_given_up(target: Path) -> None:
    with serve(Site({})) as site:
        pass
    with pytest.raises(AddressError, match="could not be fetched"):
        fetch(site, target)


def test_too_little_room_is_said_before_anything_is_written(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = shutil.disk_usage(target.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: little)
    with pytest.raises(FetchError, match=r"a.zip needs 700001 more bytes .* has 1000"):
        fetch(site, target)
    assert not _part(target).exists()


def test_a_disk_that_fills_up_is_said(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, mode: str, **options: Any) -> IO[Any]:
        return open("/dev/full", mode, **options)  # the kernel answers every write with ENOSPC

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(FetchError, match=r"is full\. What came so far is kept"):
        fetch(site, target)
