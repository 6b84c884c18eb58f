from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from patchwatch import main
from tests.fakes import grey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures at two depths: a bright one (fake), a dark one (real) and a corrupt one."""
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    cv2.imwrite(str(folder / "bright.png"), grey(250))
    cv2.imwrite(str(folder / "deep" / "er" / "dark.png"), grey(5))
    (folder / "notes.txt").write_text("not a picture")
    return folder


def rows(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_scores_a_folder_to_the_bottom(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(folder), "--model", model, "--format", "json"]) == 0
    out = capsys.readouterr()
    bright, dark = rows(out.out)
    assert (bright["verdict"], dark["verdict"]) == ("fake", "real")
    assert bright["logit"] == pytest.approx(122.0) and bright["frames"] == 1
    assert "2 files" in out.err


def test_a_corrupt_file_is_reported_and_the_rest_is_scored(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video")
    assert main(["score", str(folder), "--model", model, "--format", "json"]) == 1
    out = capsys.readouterr()
    by_name = {Path(str(row["source"])).name: row for row in rows(out.out)}
    assert by_name["bright.png"]["verdict"] == "fake"
    for name in ("broken.jpg", "empty.png", "text.mp4"):
        assert by_name[name]["verdict"] is None
        assert name in str(by_name[name]["error"])
    assert "3 failed" in out.err
    assert "Traceback" not in out.err


def test_csv_has_a_header_and_quotes_what_needs_it(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bright.png").rename(folder / 'a, "b".png')
    assert main(["score", str(folder), "--model", model, "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert table[0]["source"].endswith('a, "b".png')
    assert table[0]["verdict"] == "fake" and float(table[0]["score"]) > 0.99


def test_the_table_has_a_line_for_each_file(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(folder), "--model", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["verdict", "score", "logit", "frames", "source"]
    assert lines[1].startswith("fake") and lines[1].endswith("bright.png")
    assert lines[2].startswith("real") and lines[2].endswith("dark.png")


def test_a_missing_file_fails_and_the_rest_is_scored(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(folder / "absent.png"), str(folder / "bright.png")]
    assert main(["score", *paths, "--model", model, "--format", "json"]) == 1
    absent, bright = rows(capsys.readouterr().out)
    assert "no such file" in str(absent["error"]) and bright["verdict"] == "fake"


def test_nothing_to_score_is_wrong_usage(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["score", str(tmp_path / "empty"), "--model", model]) == 2
    assert "no pictures or videos found" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--region", "whole"], ["--every", "0"], ["--format", "xml"]])
def test_wrong_flags_are_wrong_usage(folder: Path, model: str, flags: list[str]) -> None:
    try:
        code = main(["score", str(folder), "--model", model, *flags])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    assert code == 2


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 50), 250, np.uint8),
        np.full((40, 50, 3), 250 * 257, np.uint16),
        np.full((40, 50, 4), 250, np.uint8),
    ],
    ids=["grey", "16-bit", "RGBA"],
)
def test_pictures_of_other_depths_are_scored(
    tmp_path: Path, model: str, image: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), image)
    assert main(["score", str(tmp_path / "p.png"), "--model", model, "--format", "json"]) == 0
    (row,) = rows(capsys.readouterr().out)
    assert row["logit"] == pytest.approx(122.0)


def test_a_picture_of_one_pixel_is_refused_with_a_sentence(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), grey(0, 1, 1))
    assert main(["score", str(tmp_path / "p.png"), "--model", model, "--format", "json"]) == 1
    (row,) = rows(capsys.readouterr().out)
    assert "1×1 pixels" in str(row["error"]) and row["verdict"] is None
