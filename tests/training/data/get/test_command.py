from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from tests.shared_data import shared
from tests.training.data.get.server import Site, serve, tag
from training.data.get import command
from training.data.get.download import RETRIES, AddressError, FetchError, download
from training.data.get.published import ENTRIES
from training.program import run_program

DATA = np.random.default_rng(0).bytes(9 * 2**20 + 3)
SHA256 = hashlib.sha256(DATA).hexdigest()
AT_ONCE = RETRIES.new(backoff_factor=0)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as opened:
        opened.writestr("WildRF/train/0_real/a.jpg", b"picture")
    return tmp_path / "made.zip"


@pytest.fixture
def site(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    files = {
        "WildRF.zip": archive.read_bytes(),
        "WildRF_Tiny_LaDeDa.pth": b"not the weights",
        "progan_train.7z.001": DATA,
    }
    with serve(Site(files)) as served:
        monkeypatch.setattr(command, "ENTRIES", mirrored(served.address))
        yield served


def mirrored(address: str) -> dict[str, Any]:
    """The table, with every file at one address."""
    return {
        name: replace(
            entry,
            parts=tuple(replace(p, address=f"{address}/{p.file}") for p in entry.parts),
        )
        for name, entry in ENTRIES.items()
    }


def get(*arguments: str | Path) -> int:
    words = [str(a) for a in arguments]
    return run_program("get", command.__doc__, command.add_arguments, command.run, words)


def take(output: Path, *arguments: str | Path) -> int:
    return get(*arguments, "--output", output, "--accept-licence")


def test_an_archive_is_fetched_once_unpacked_and_recorded(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert take(out, "wildrf") == 0
    assert f"for --data: {out / 'pictures/WildRF'}\n" in capsys.readouterr().err
    assert (out / "pictures/WildRF/train/0_real/a.jpg").read_bytes() == b"picture"
    record = json.loads((out / "fetched.json").read_text())["pictures"]
    data = site.files["WildRF.zip"]
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["bytes"] == len(data) and record["from"] == f"{site.address}/WildRF.zip"
    assert sorted(p.name for p in out.iterdir()) == ["fetched.json", "pictures"]
    assert take(out, "wildrf") == 0 and len(site.asked) == 1


def test_an_archive_whose_unpacking_was_stopped_is_not_fetched_again(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/WildRF.zip").write_bytes(site.files["WildRF.zip"])
    assert take(tmp_path / "out", "wildrf") == 0 and not site.asked


@pytest.mark.parametrize("inside", ["../out.txt", "/abs.txt", "link"])
def test_nothing_leads_out_of_the_folder(tmp_path: Path, inside: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as opened:
        member = zipfile.ZipInfo(inside)
        member.external_attr = 0o120777 << 16 if inside == "link" else 0
        opened.writestr(member, b"/etc/passwd")
    command.unpack(tmp_path / "bad.zip", tmp_path / "in" / "x", lambda done, total: None)
    files = [p for p in tmp_path.rglob("*") if not p.is_dir() and p.suffix != ".zip"]
    assert files and all(p.is_relative_to(tmp_path / "in" / "x") for p in files)
    assert not any(p.is_symlink() for p in files)


@pytest.mark.parametrize("content", [b"no zip", b"cut"])
def test_a_broken_archive_leaves_nothing(archive: Path, tmp_path: Path, content: bytes) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-10] if content == b"cut" else content)
    with pytest.raises(FetchError, match="is broken"):
        command.unpack(archive, tmp_path / "x", lambda done, total: None)
    assert [p.name for p in tmp_path.iterdir()] == ["made.zip"]


def test_what_goes_wrong_is_one_sentence_and_harms_nothing(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a/pictures").mkdir(parents=True)
    assert take(tmp_path / "a", "wildrf") == 1
    assert "was not made by this command" in capsys.readouterr().err
    assert take(tmp_path / "b", "upstream-weights", "--part", "wildrf") == 1
    assert "is not what was published: its sha256 is" in capsys.readouterr().err
    assert not list((tmp_path / "b").iterdir())
    site.kind = "text/html"
    assert take(tmp_path / "c", "wildrf") == 1
    told = capsys.readouterr().err
    assert "--from FILE" in told and ENTRIES["wildrf"].page in told and "Traceback" not in told


@pytest.mark.parametrize("answer,code", [(None, 1), ("yes\n", 0), ("n\n", 1)])
def test_the_licence_must_be_accepted(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str | None,
    code: int,
) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, (answer or "").encode())
    with Path(os.devnull).open() if answer is None else os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert get("wildrf", "--output", tmp_path / "out") == code
    os.close(ours)
    assert bool(site.asked) == (tmp_path / "out").exists() == (code == 0)
    told = capsys.readouterr().err
    assert ENTRIES["wildrf"].licence[:40] in told
    assert ("was not accepted" in told) == (code == 1)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_dry_run_lists_a_sound_table_and_fetches_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get(name, "--dry-run", "--output", tmp_path / "out") == 0
    listed, entry = capsys.readouterr().out, ENTRIES[name]
    assert entry.licence in listed and not (tmp_path / "out").exists()
    assert entry.licence_address.startswith("https://") and entry.page.startswith("https://")
    assert len({p.name for p in entry.parts}) == len({p.file for p in entry.parts})
    for part in entry.parts:
        assert part.file in listed and part.address in listed
        assert part.address.startswith("https://")
        assert part.sha256 is None or len(bytes.fromhex(part.sha256)) == 32


def test_the_weights_of_the_table_are_those_at_hand(tmp_path: Path) -> None:
    folder = shared("upstream-weights")
    for part in ENTRIES["upstream-weights"].parts:
        words = ("--part", part.name, "--from", folder / part.file)
        assert take(tmp_path, "upstream-weights", *words) == 0
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["ForenSynth_Tiny_LaDeDa.pth", "WildRF_Tiny_LaDeDa.pth", "fetched.json"]


def test_a_file_of_ones_own_goes_in_and_stays(archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    assert take(tmp_path / "out", "wildrf", "--from", archive) == 0
    assert (tmp_path / "out/pictures/WildRF/train/0_real/a.jpg").exists()
    assert archive.read_bytes() == before


@pytest.mark.parametrize(
    "words,text",
    [
        (["wildrf", "--from", "absent"], "absent does not exist"),
        (["forensynth", "--from", "x.zip"], "Which part is x.zip? Say it with --part: test, val."),
        (["upstream-weights", "--part", "wildrf", "--from", "x.zip"], "as published"),
        (["wildrf", "--part", "train"], "has no part 'train'. Its parts: pictures."),
    ],
)
def test_a_mistake_is_one_clear_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.zip").write_bytes(b"x")
    assert get(*words, "--accept-licence") in (1, 2)
    told = capsys.readouterr().err
    assert text in " ".join(told.split()) and "Traceback" not in told


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_goes_on_to_the_identical_file(
    site: Site, tmp_path: Path, number: int
) -> None:
    site.block_s = 0.002
    out = tmp_path / "out"
    program = (
        "import sys, patchwatch\n"
        "from tests.training.data.get.test_command import command, mirrored\n"
        f"command.ENTRIES = mirrored({site.address!r})\n"
        "sys.exit(patchwatch.main(sys.argv[1:]))"
    )
    words = ["data", "get", "forensynth", "--part", "train-1", "--output", str(out)]
    line = [sys.executable, "-c", program, *words, "--accept-licence"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as first:
        part = out / "progan_train.7z.001.part"
        end = time.monotonic() + 90
        while not (part.exists() and part.stat().st_size > 2**20):
            assert time.monotonic() < end and first.poll() is None
            time.sleep(0.005)
        first.send_signal(number)
        _, told = first.communicate(timeout=90)
    reached = part.stat().st_size
    assert first.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in told and reached < len(DATA)
    site.block_s = 0.0
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / "progan_train.7z.001").read_bytes() == DATA
    assert site.asked[-1][1:] == (f"bytes={reached}-", 206)
    assert sorted(p.name for p in out.iterdir()) == ["fetched.json", "progan_train.7z.001"]


def _fetch(site: Site, folder: Path) -> None:
    target = folder / "progan_train.7z.001"
    download(f"{site.address}/{target.name}", target, SHA256, retries=AT_ONCE)
    assert target.read_bytes() == DATA and sorted(folder.iterdir()) == [target]
    target.unlink()


@pytest.mark.parametrize("left", [0, 300_000, len(DATA)])
@pytest.mark.parametrize("state", ["as it was", "another tag", "no ranges"])
def test_a_part_goes_on_where_the_server_says_that_it_is_the_same(
    site: Site, tmp_path: Path, left: int, state: str
) -> None:
    folder = tmp_path / "got"
    folder.mkdir()
    address = f"{site.address}/progan_train.7z.001"
    (folder / "progan_train.7z.001.part").write_bytes(DATA[:left])
    known = f"{address}\n{tag(DATA)}" if state != "another tag" else "http://elsewhere/x\ntag"
    (folder / "progan_train.7z.001.part.tag").write_text(known)
    site.ranges = state != "no ranges"
    _fetch(site, folder)
    goes_on = left and state == "as it was"
    assert site.asked[-1][2] == ({300_000: 206, len(DATA): 416}[left] if goes_on else 200)


def test_a_connection_that_breaks_is_taken_up_again_while_anything_comes(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "got").mkdir()
    site.cuts, site.failures = 4, [500, 502, 503, 429]
    _fetch(site, tmp_path / "got")
    assert [status for *_, status in site.asked][4:] == [200, 206, 206, 206, 206]
    site.ranges, site.cuts = False, 9
    with pytest.raises(AddressError, match=r"is kept.*run the same command again"):
        _fetch(site, tmp_path / "got")


@pytest.mark.parametrize("failures,text", [([404], "answered 404"), ([500] * 9, "too many 500")])
def test_a_refusal_is_one_clear_message(
    site: Site, tmp_path: Path, failures: list[int], text: str
) -> None:
    site.failures = failures
    with pytest.raises(AddressError, match=text):
        _fetch(site, tmp_path)


def test_a_disk_that_fills_up_is_said(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, mode: str, **options: Any) -> IO[Any]:
        return open("/dev/full", mode, **options)  # the kernel answers every write with ENOSPC

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(FetchError, match=r"is full\. What came so far is kept"):
        _fetch(site, tmp_path)
