from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
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


Score = Callable[..., tuple[str, str]]


@pytest.fixture
def score(model: str, capsys: pytest.CaptureFixture[str]) -> Score:
    """Scores paths; gives what was printed and what was said."""

    def score(*paths: Path, form: str = "json", code: int = 0) -> tuple[str, str]:
        assert main(["score", *map(str, paths), "--model", model, "--format", form]) == code
        return capsys.readouterr()

    return score


def rows(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_scores_a_folder_to_the_bottom(folder: Path, score: Score) -> None:
    out, err = score(folder)
    bright, dark = rows(out)
    assert (bright["verdict"], dark["verdict"]) == ("fake", "real")
    assert bright["logit"] == pytest.approx(122.0) and bright["frames"] == 1
    assert "2 files" in err


def test_files_that_cannot_be_read_are_reported_and_the_rest_is_scored(
    folder: Path, score: Score
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video")
    out, err = score(folder / "absent.png", folder, code=1)
    by_name = {Path(str(row["source"])).name: row for row in rows(out)}
    assert by_name["bright.png"]["verdict"] == "fake"
    for name in ("broken.jpg", "empty.png", "text.mp4"):
        assert by_name[name]["verdict"] is None
        assert name in str(by_name[name]["error"])
    assert "no such file" in str(by_name["absent.png"]["error"])
    assert "4 failed" in err and "Traceback" not in err


def test_csv_has_a_header_and_quotes_what_needs_it(folder: Path, score: Score) -> None:
    (folder / "bright.png").rename(folder / 'a, "b".png')
    table = list(csv.DictReader(io.StringIO(score(folder, form="csv")[0])))
    assert table[0]["source"].endswith('a, "b".png')
    assert table[0]["verdict"] == "fake" and float(table[0]["score"]) > 0.99


def test_the_table_has_a_line_for_each_file(folder: Path, score: Score) -> None:
    lines = score(folder, form="table")[0].splitlines()
    assert lines[0].split() == ["verdict", "score", "logit", "frames", "source"]
    assert lines[1].startswith("fake") and lines[1].endswith("bright.png")
    assert lines[2].startswith("real") and lines[2].endswith("dark.png")


def test_nothing_to_score_is_wrong_usage(tmp_path: Path, score: Score) -> None:
    assert "no pictures or videos found" in score(tmp_path, code=2)[1]


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
    tmp_path: Path, score: Score, image: np.ndarray
) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), image)
    (row,) = rows(score(tmp_path / "p.png")[0])
    assert row["logit"] == pytest.approx(122.0)
