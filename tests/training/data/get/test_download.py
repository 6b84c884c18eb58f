from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.get.server import Site, serve
from training.data.get.download import RETRIES, download
from training.data.get.errors import AddressError, FetchError

DATA = np.random.default_rng(0).bytes(700_001)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site({"a.zip": DATA})) as served:
        yield served


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a.zip"


def fetch(site: Site, target: Path) -> list[float]:
    """Download without waiting; returns the waits that were due."""
    waits: list[float] = []
    download(f"{site.address}/a.zip", target, SHA256, pause=waits.append)
    assert target.read_bytes() == DATA and sorted(target.parent.iterdir()) == [target]
    return waits


def leave(site: Site, target: Path, size: int) -> None:
    """A part as an earlier run leaves it."""
    note = {"address": f"{site.address}/a.zip", "validator": f'"{hashlib.md5(DATA).hexdigest()}"'}
    _part(target).write_bytes(DATA[:size])
    target.with_name("a.zip.part.json").write_text(json.dumps(note))


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


def test_it_goes_on_by_date_where_there_is_no_strong_tag(site: Site, target: Path) -> None:
    site.weak, site.dates, site.cuts = True, True, 1
    fetch(site, target)
    assert [status for *_, status in site.asked] == [200, 206]


@pytest.mark.parametrize("lacking", ["ranges", "tags"])
def test_a_server_that_cannot_go_on_begins_again(site: Site, target: Path, lacking: str) -> None:
    setattr(site, lacking, False)
    site.cuts = 1
    assert fetch(site, target) == [1.0]
    assert [status for *_, status in site.asked] == [200, 200]


def test_a_file_that_changed_begins_again(site: Site, target: Path) -> None:
    leave(site, target, 300_000)
    site.files["a.zip"] = DATA[::-1]
    download(f"{site.address}/a.zip", target)
    assert target.read_bytes() == DATA[::-1]


def test_another_address_begins_again(site: Site, target: Path) -> None:
    leave(site, target, 300_000)
    site.files["b.zip"] = DATA[::-1]
    download(f"{site.address}/b.zip", target)
    assert target.read_bytes() == DATA[::-1]
    assert site.asked[-1] == ("b.zip", None, 200)


def test_a_part_that_is_whole_already_is_found_so(site: Site, target: Path) -> None:
    leave(site, target, len(DATA))
    fetch(site, target)
    assert site.asked[-1][2] == 416


@pytest.mark.parametrize("note", [None, "{", '{"address": 3}'])
def test_a_part_without_its_note_begins_again(site: Site, target: Path, note: str | None) -> None:
    _part(target).write_bytes(b"strange")
    if note:
        target.with_name("a.zip.part.json").write_text(note)
    fetch(site, target)


def test_a_body_of_unknown_length_is_taken(site: Site, target: Path) -> None:
    site.lengths = False
    fetch(site, target)


def test_a_broken_connection_is_tried_again_and_progress_resets_the_count(
    site: Site, target: Path
) -> None:
    site.cuts = RETRIES + 3
    assert fetch(site, target) == [1.0] * (RETRIES + 3)


def test_a_busy_server_is_waited_for_as_it_asks(site: Site, target: Path) -> None:
    site.failures = [500, 502, 503, 429]
    assert fetch(site, target) == [1.0, 2.0, 7.0, 8.0]


def test_a_server_that_stays_busy_is_given_up_and_the_part_kept(site: Site, target: Path) -> None:
    leave(site, target, 300_000)
    site.failures = [500] * (RETRIES + 1)
    with pytest.raises(AddressError, match=r"answered 500.*is kept.*run the same command again"):
        fetch(site, target)
    fetch(site, target)
    assert site.asked[-1] == ("a.zip", "bytes=300000-", 206)


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
        address = site.address
    with pytest.raises(AddressError, match="could not be fetched"):
        download(f"{address}/a.zip", target, pause=lambda _: None)


def test_too_little_room_is_said_before_anything_is_written(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = shutil.disk_usage(target.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: little)
    with pytest.raises(FetchError, match=r"a.zip needs 700001 more bytes .* has 1000"):
        fetch(site, target)
    assert _part(target).stat().st_size == 0


def test_a_disk_that_fills_up_is_said(site: Site, target: Path) -> None:
    _part(target).symlink_to("/dev/full")  # the kernel answers every write with ENOSPC
    with pytest.raises(FetchError, match=r"is full\. What came so far is kept"):
        fetch(site, target)


def test_two_runs_do_not_write_one_part(site: Site, target: Path) -> None:
    with _part(target).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="another run"):
            fetch(site, target)
