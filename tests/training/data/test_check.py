from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image as PillowImage
from rich.console import Console

from patchwatch import main
from tests.shared_data import shared
from tests.training.data.layout_trees import TREES, plant
from training.data.check import MOST_ROWS, found_notes, found_table, found_totals, source_rows
from training.data.dataset import open_dataset
from training.data.folders import LABEL_FOLDERS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "data", TREES["splits"])


def _check(root: Path, *flags: str) -> int:
    return main(["data", "check", str(root), "--cache", str(root.parent / "cache"), *flags])


def test_a_clean_set_is_shown_and_passes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(root, "--strict") == 0
    out = capsys.readouterr().out
    assert "(splits)" in out and "train: 2 real and 2 fake" in out
    assert "No picture of another split matches one of train." in out


def test_a_pipe_cuts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "a-generator-with-a-long-name-" * 8
    folders = [f"test/{x}/{y}" for x in ("one", "two", "three", "four") for y in LABEL_FOLDERS]
    root = plant(tmp_path / "data", [*folders, f"test/one/1_fake/{long[:200]}"])
    plant(root, [f"{x}/{y}/{long[:200]}" for x in ("train", "val") for y in LABEL_FOLDERS])
    _check(root, "--no-leaks")
    lines = capsys.readouterr().out.splitlines()
    assert any(
        "val: 2 real and 2 fake; test/four: 2 real and 2 fake; test/one:" in x for x in lines
    )
    row = next(line for line in lines if long[:200] in line)
    assert "32×32" in row and "PNG 2" in row and not any("…" in line for line in lines)


def test_leaks_are_listed_and_fail(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(root / "train" / "0_real" / "some" / "0.png", root / "val" / "1_fake" / "x.png")
    assert _check(root) == 1
    out = capsys.readouterr().out
    assert "val: 1 of 5 pictures match one of train:" in out
    assert "x.png" in out and "(0 bits apart; their labels differ)" in out
    assert _check(root, "--no-leaks") == 0
    assert "match" not in capsys.readouterr().out


def test_corrupt_files_are_listed_and_fail_when_strict(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        (root / "train" / "0_real" / "some" / f"[b]{number:02}.png").touch()
    (root / os.fsdecode(b"train/0_real/\xff.png")).touch()
    assert _check(root) == 0
    out = capsys.readouterr().out
    assert "train: left out are 13 corrupt and 0 too small files:" in out
    assert "[b]00.png: the file is empty" in out and "and 3 more, which --json lists" in out
    assert _check(root, "--strict") == 1


def test_too_small_is_not_corrupt(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(root, "--strict", "--smallest", "33") == 1
    assert "test/0_real has no picture" in capsys.readouterr().err.replace("train/", "test/")


def test_json_holds_everything(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = root / "train" / "0_real" / "some"
    shutil.copy(train / "0.png", root / "test" / "0_real" / "x.png")
    (train / "bad.png").touch()
    assert _check(root, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["layout"], report["splits"]["train"]["corrupt"]) == ("splits", 1)
    assert report["splits"]["train"]["left_out"][0]["path"].endswith("bad.png")
    (leak,) = report["leaks"]
    assert leak["split"] == "test" and leak["distance"] == 0 and leak["label"] == "real"
    source = report["splits"]["train"]["sources"][0]
    assert source["source"] == "some" and source["sizes"] == [[32, 32]] * 3


def test_what_cannot_be_compared_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path / "data", ["real", "fake"])
    assert _check(tmp_path / "data", "--label-folders", "real,fake") == 0
    assert "No leaks can be looked for: the splits are all." in capsys.readouterr().out


def test_mistakes_are_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(root.parent) == 1
    assert "none of the known layouts" in capsys.readouterr().err
    assert _check(root, "--classes", "car") == 2
    for wrong in (("--classes", "a,,b"), ("--label-folders", "real"), ("--leak-distance", "9")):
        with pytest.raises(SystemExit) as stopped:
            _check(root, *wrong)
        assert stopped.value.code == 2
    with pytest.raises(SystemExit):
        main(["data"])
    assert "COMMAND" in capsys.readouterr().err


def test_the_pictures_at_hand_have_no_leak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(shared("data/val")), "--cache", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["all"]["corrupt"] == 0


def _shown(root: Path, cache: Path) -> str:
    text = io.StringIO()
    Console(width=120, file=text).print(found_table(open_dataset(root, smallest=8, cache=cache)))
    return text.getvalue()


def test_a_row_for_each_label_and_source_with_what_is_lost(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", ["0_real/[red]", "1_fake/made", "1_fake/lost"])
    PillowImage.new("L", (64, 48)).save(root / "1_fake" / "made" / "2.jpg")
    for index in range(2):
        (root / "1_fake" / "lost" / f"{index}.png").write_bytes(b"")
    folder = open_dataset(root, cache=tmp_path / "c").splits["all"]
    rows = {(row.label, row.source): row for row in source_rows(folder)}
    assert set(rows) == {(0, "[red]"), (1, "made"), (1, "lost")}
    made = rows[1, "made"]
    assert made.pictures == 3 and made.sizes == ((32, 32), (32, 32), (64, 48))
    assert made.formats == {"PNG": 2, "JPEG": 1} and made.left_out == 0
    assert rows[1, "lost"].sizes is None and rows[1, "lost"].left_out == 2
    text = _shown(root, tmp_path / "c")
    assert "[red]" in text and "32×32, 32×32, 64×48" in text and "PNG 2, JPEG 1" in text
    assert found_totals(open_dataset(root, cache=tmp_path / "c")) == "all: 2 real and 3 fake"


def test_many_sources_end_in_one_row(tmp_path: Path) -> None:
    folders = [f"{x}/s{i:02}" for x in ("0_real", "1_fake") for i in range(MOST_ROWS)]
    root = plant(tmp_path / "data", folders, each=1)
    assert f"{MOST_ROWS} more sources" in _shown(root, tmp_path / "c")


def test_odd_files_and_formats_that_tell_the_label_are_said(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", TREES["plain"])
    assert found_notes(open_dataset(root, cache=tmp_path / "c")) == []
    for path in (root / "0_real" / "camera").iterdir():
        PillowImage.new("CMYK", (32, 32)).save(path.with_suffix(".jpg"))
        path.unlink()
    odd, telling = found_notes(open_dataset(root, cache=tmp_path / "c"))
    assert odd == "all: 2 CMYK (converted)."
    assert "are all JPEG, generated pictures all PNG" in telling
