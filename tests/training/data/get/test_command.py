from __future__ import annotations

import argparse
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.shared_data import shared
from tests.training.data.get.server import Site, serve
from tests.training.data.get.test_unpack import write_zip
from training.data.get import command
from training.data.get.published import ENTRIES
from training.program import run_program

BIG = np.random.default_rng(0).bytes(9 * 2**20 + 3)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    archive = write_zip(tmp_path / "made.zip", {"WildRF/train/0_real/a.jpg": b"picture"})
    files = {
        "WildRF.zip": archive.read_bytes(),
        "WildRF_Tiny_LaDeDa.pth": b"not the weights",
        "progan_train.7z.001": BIG,
    }
    with serve(Site(files)) as served:
        yield served


def get(*arguments: str | Path) -> int:
    words = [str(a) for a in arguments]
    return run_program("get", command.__doc__, command.add_arguments, command.run, words)


def from_mirror(site: Site, output: Path, *arguments: str) -> int:
    return get(*arguments, "--address", site.address, "--output", output, "--accept-licence")


def test_an_archive_is_fetched_unpacked_and_recorded(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert from_mirror(site, out, "wildrf") == 0
    assert f"for --data: {out / 'pictures/WildRF'}\n" in capsys.readouterr().err
    assert (out / "pictures/WildRF/train/0_real/a.jpg").read_bytes() == b"picture"
    record = json.loads((out / "fetched.json").read_text())["pictures"]
    data = site.files["WildRF.zip"]
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["bytes"] == len(data) and record["from"] == f"{site.address}/WildRF.zip"
    assert sorted(p.name for p in out.iterdir()) == ["fetched.json", "pictures"]


def test_what_is_here_is_not_fetched_again(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert from_mirror(site, tmp_path / "out", "wildrf") == 0
    assert from_mirror(site, tmp_path / "out", "wildrf") == 0
    assert len(site.asked) == 1


def test_an_archive_whose_unpacking_was_stopped_is_not_fetched_again(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/WildRF.zip").write_bytes(site.files["WildRF.zip"])
    assert from_mirror(site, tmp_path / "out", "wildrf", "--keep-archive") == 0
    assert not site.asked and (tmp_path / "out/WildRF.zip").exists()


def test_a_strange_folder_in_the_way_is_left_alone(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/pictures").mkdir(parents=True)
    assert from_mirror(site, tmp_path / "out", "wildrf") == 1
    assert "was not made by this command" in capsys.readouterr().err


def test_wrong_bytes_are_deleted(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert from_mirror(site, out, "upstream-weights", "--part", "wildrf") == 1
    assert "is not what was published: its sha256 is" in capsys.readouterr().err
    assert not list(out.iterdir())


def test_a_page_instead_of_an_archive_names_the_way_out(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.kind = "text/html"
    assert from_mirror(site, tmp_path / "out", "wildrf") == 1
    told = capsys.readouterr().err
    assert "--from FILE" in told and ENTRIES["wildrf"].page in told
    assert "Traceback" not in told


def test_the_licence_must_be_accepted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert get("wildrf", "--address", site.address, "--output", tmp_path / "out") == 1
    assert "Add --accept-licence if you accept it." in capsys.readouterr().err
    assert not site.asked and not (tmp_path / "out").exists()


@pytest.mark.parametrize("answer,code", [("yes\n", 0), ("n\n", 1), ("\n", 1)])
def test_a_person_is_asked(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    code: int,
) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        done = get("wildrf", "--address", site.address, "--output", tmp_path / "out")
    os.close(ours)
    assert done == code and bool(site.asked) == (code == 0)
    told = capsys.readouterr().err
    assert ("so nothing was fetched" in told) == (code == 1)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_dry_run_lists_and_fetches_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get(name, "--dry-run", "--output", tmp_path / "out") == 0
    listed = capsys.readouterr().out
    entry = ENTRIES[name]
    assert entry.licence in listed
    assert all(part.file in listed and part.address in listed for part in entry.parts)
    assert not (tmp_path / "out").exists()


def test_the_table_is_sound() -> None:
    for entry in ENTRIES.values():
        assert entry.licence_address.startswith("https://") and entry.page.startswith("https://")
        assert len({part.name for part in entry.parts}) == len(entry.parts)
        assert len({part.file for part in entry.parts}) == len(entry.parts)
        assert any(not part.optional for part in entry.parts)
        for part in entry.parts:
            assert part.address.startswith("https://")
            assert part.sha256 is None or len(bytes.fromhex(part.sha256)) == 32


def test_the_weights_of_the_table_are_those_at_hand(tmp_path: Path) -> None:
    folder = shared("upstream-weights")
    words = ("--from", folder, "--output", tmp_path, "--accept-licence")
    assert get("upstream-weights", *words) == 0
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["ForenSynth_Tiny_LaDeDa.pth", "WildRF_Tiny_LaDeDa.pth", "fetched.json"]


def test_a_file_of_ones_own_goes_in_and_stays(site: Site, tmp_path: Path) -> None:
    own = tmp_path / "made.zip"
    before = own.read_bytes()
    words = ("--from", own, "--output", tmp_path / "out", "--accept-licence")
    assert get("wildrf", *words) == 0
    assert (tmp_path / "out/pictures/WildRF/train/0_real/a.jpg").exists()
    assert own.read_bytes() == before


@pytest.mark.parametrize(
    "words,text",
    [
        (["wildrf", "--from", "absent"], "absent does not exist"),
        (["forensynth", "--from", "here"], "missing: CNN_synth_testset.zip, progan_val.zip"),
        (["forensynth", "--from", "here/x.zip"], "Which part is x.zip? Say it with --part"),
        (["forensynth", "--from", "here/progan_val.zip"], "Add --part val."),
        (["upstream-weights", "--part", "wildrf", "--from", "here/x.zip"], "as published"),
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
    Path("here").mkdir()
    Path("here/x.zip").write_bytes(b"x")
    if "val" in text:
        Path("here/progan_val.zip").touch()
        if "missing" in text:
            Path("here/progan_val.zip").unlink()
    assert get(*words, "--accept-licence") in (1, 2)
    told = capsys.readouterr().err
    assert text in " ".join(told.split()) and "Traceback" not in told


def test_a_mirror_must_be_a_web_address() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected http"):
        command._web_address("ftp://x")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_goes_on_to_the_identical_file(
    site: Site, tmp_path: Path, number: int
) -> None:
    site.block_s = 0.002
    out = tmp_path / "out"
    command_line = [sys.executable, "-m", "patchwatch", "data", "get", "forensynth"]
    command_line += [
        "--part",
        "train-1",
        "--address",
        site.address,
        "--output",
        str(out),
        "--accept-licence",
    ]
    with subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True) as first:
        part = out / "progan_train.7z.001.part"
        _wait_until(lambda: part.exists() and part.stat().st_size > 2**20)
        first.send_signal(number)
        _, told = first.communicate(timeout=90)
    reached = part.stat().st_size
    assert first.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in told and reached < len(BIG)
    site.block_s = 0.0
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / "progan_train.7z.001").read_bytes() == BIG
    _, asked, status = site.asked[-1]
    assert asked is not None and status == 206
    resumed = int(asked.removeprefix("bytes=").removesuffix("-"))
    assert resumed == reached
    assert sorted(p.name for p in out.iterdir()) == ["fetched.json", "progan_train.7z.001"]


def _wait_until(true: object, seconds: float = 90.0) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.005)
