from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from rich.console import Console

from edge.labels import LABEL_FOLDERS
from patchwatch import main
from tests.shared_data import shared
from tests.training.data.layout_trees import TREES, plant
from tests.training.pictures import write_split
from training.data.check import (
    MOST_ROWS,
    find_leaks,
    found_notes,
    found_table,
    nearest_hashes,
    source_rows,
)
from training.data.dataset import open_dataset


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


def test_what_a_training_would_leave_out_or_refuse_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, side in (("train", 64), ("val", 64)):
        write_split(tmp_path / "data" / split, per_source=2, seed=side, side=side)
    small = tmp_path / "data" / "train" / "0_real" / "camera-a" / "0.png"
    PillowImage.new("RGB", (40, 40)).save(small)
    config = tmp_path / "tiny.yaml"

    def check(text: str) -> tuple[int, str]:
        config.write_text(f"name: tiny\nsteps: 1\n{text}")
        code = _check(tmp_path / "data", "--no-leaks", "--for", str(config))
        return code, capsys.readouterr().err.replace("\n", "")

    code, said = check("data: {crop: 48}")
    assert code == 0 and "1 files are left out" in said and "40×40 pixels" in said
    code, said = check("data: {crop: 40}")
    assert code == 0 and "left out" not in said
    code, said = check("data: {crop: 128}")
    assert code == 1 and "has no picture that can be used" in said
    code, said = check("data: {train: trian}")
    assert code == 1 and "no split 'trian'" in said
    code, said = check("validation: {columns: [jpeg-9]}")
    assert code == 2 and "'jpeg-9' is not known" in said
    config.write_text("kind: faces")
    assert _check(tmp_path / "data", "--for", str(config)) == 2


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
    plant(tmp_path / "data", TREES["plain"])
    assert _check(tmp_path / "data") == 0
    assert "No leaks can be looked for: the splits are all." in capsys.readouterr().out


def test_mistakes_are_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(root.parent) == 1
    assert "none of the known layouts" in capsys.readouterr().err
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
    Console(width=120, file=text).print(found_table(open_dataset(root, cache=cache)))
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


def test_many_sources_end_in_one_row(tmp_path: Path) -> None:
    folders = [f"{x}/s{i:02}" for x in ("0_real", "1_fake") for i in range(MOST_ROWS)]
    root = plant(tmp_path / "data", folders, each=1)
    assert f"{MOST_ROWS} more sources" in _shown(root, tmp_path / "c")


def test_odd_files_and_formats_that_tell_the_label_are_said(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", TREES["plain"])
    assert list(found_notes(open_dataset(root, cache=tmp_path / "c"))) == []
    for path in (root / "0_real" / "camera").iterdir():
        PillowImage.new("CMYK", (32, 32)).save(path.with_suffix(".jpg"))
        path.unlink()
    odd, telling = found_notes(open_dataset(root, cache=tmp_path / "c"))
    assert odd == "all: 2 CMYK (converted)."
    assert "are all JPEG, generated pictures all PNG" in telling


def test_the_search_finds_what_comparing_every_pair_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.check._AT_ONCE", 300 * 7)
    rng = np.random.default_rng(0)
    known = rng.integers(0, 2**64, 300, dtype=np.uint64)
    known[7] = known[3]
    asked = np.concatenate([known[:150] ^ rng.integers(0, 256, 150, dtype=np.uint64), known[:5]])
    gaps = np.array([[(int(a) ^ int(k)).bit_count() for k in known] for a in asked])
    places, distances = nearest_hashes(known, asked)
    assert places.tolist() == gaps.argmin(1).tolist()
    assert distances.tolist() == gaps.min(1).tolist()


def test_a_picture_of_train_that_comes_back_is_reported_with_both_labels(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", TREES["wildrf"])
    stolen = root / "train" / "0_real" / "1.png"
    target = root / "test" / "reddit" / "1_fake" / "stolen.jpg"
    with PillowImage.open(stolen) as image:
        image.resize((40, 40)).save(target, quality=80)
    (leak,) = find_leaks(open_dataset(root, cache=tmp_path / "c", hashed=True))
    assert leak.split == "test/reddit"
    assert (leak.held.path, leak.train.path) == (target, stolen)
    assert (leak.held.label, leak.train.label) == (1, 0)


def test_a_picture_under_both_labels_and_copies_in_a_split_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(tmp_path / "set" / "train", per_source=2, seed=0)
    real = tmp_path / "set" / "train" / "0_real" / "camera-a" / "0.png"
    command = ["data", "check", str(tmp_path / "set"), "--cache", str(tmp_path / "cache")]
    assert main(command) == 0
    assert "under both" not in capsys.readouterr().out
    real.with_name("again.png").write_bytes(real.read_bytes())
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "1 pictures are there more than once" in out and "again.png" in out
    (tmp_path / "set" / "train" / "1_fake" / "made-a" / "real.png").write_bytes(real.read_bytes())
    assert main([*command, "--json"]) == 1
    (copies,) = json.loads(capsys.readouterr().out)["copies"]
    assert copies["labels_differ"] and len(copies["pictures"]) == 3
