from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from patchwatch import main
from tests.edge.sources.clips import encode
from tests.fakes import barred


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures at two depths: a bright one (fake), a dark one (real) and a corrupt one."""
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    cv2.imwrite(str(folder / "bright.png"), barred(250))
    cv2.imwrite(str(folder / "deep" / "er" / "dark.png"), barred(5))
    (folder / "notes.txt").write_text("not a picture")
    return folder


Score = Callable[..., tuple[str, str]]


@pytest.fixture
def score(model: str, capsys: pytest.CaptureFixture[str]) -> Score:
    """Scores paths; gives what was printed and what was said."""

    def score(
        *paths: Path, form: str = "json", code: int = 0, flags: Sequence[str] = ()
    ) -> tuple[str, str]:
        words = ["score", *map(str, paths), "--model", model, "--format", form, *flags]
        assert main(words) == code
        return capsys.readouterr()

    return score


def rows(out: str) -> list[dict[str, Any]]:
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


def test_why_a_picture_cannot_be_scored_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), barred(5)[:4, :4])
    assert main(["score", str(tmp_path / "small.png"), "--model", "tiny-ladeda"]) == 1
    told = [*capsys.readouterr(), *caplog.messages]
    assert "".join(told).count("4×4") == 1


def test_csv_has_a_header_and_quotes_what_needs_it(folder: Path, score: Score) -> None:
    (folder / "bright.png").rename(folder / 'a, "b".png')
    table = list(csv.DictReader(io.StringIO(score(folder, form="csv")[0])))
    assert table[0]["source"].endswith('a, "b".png')
    assert table[0]["verdict"] == "fake" and float(table[0]["score"]) > 0.99


def test_the_table_has_a_line_for_each_file(folder: Path, score: Score) -> None:
    lines = score(folder, form="table")[0].splitlines()
    assert lines[0].split() == ["verdict", "fake", "logit", "frames", "source"]
    assert lines[1].startswith("fake") and "bright.png" in lines[1]
    assert lines[2].startswith("real") and lines[2].endswith("dark.png")


def test_a_folder_without_pictures_fails_and_no_path_is_wrong_usage(
    tmp_path: Path, score: Score
) -> None:
    assert "no pictures or videos found" in score(tmp_path, code=1)[1]
    assert "Give files, folders or addresses" in score(code=2)[1]


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
        barred(250, 40, 52)[..., 0],
        barred(250, 40, 52).astype(np.uint16) * 257,
        np.dstack([barred(250, 40, 52), np.full((40, 52), 255, np.uint8)]),
    ],
    ids=["grey", "16-bit", "RGBA"],
)
def test_pictures_of_other_depths_are_scored(
    tmp_path: Path, score: Score, image: np.ndarray
) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), image)
    (row,) = rows(score(tmp_path / "p.png")[0])
    assert row["logit"] == pytest.approx(122.0)


def test_where_there_is_nothing_to_see_the_verdict_is_open(tmp_path: Path, score: Score) -> None:
    flat = np.full((120, 160, 3), 3, np.uint8)
    cv2.imwrite(str(tmp_path / "covered.png"), flat)
    encode(tmp_path / "covered.mp4", [flat] * 20)
    encode(tmp_path / "opened.mp4", [flat] * 20 + [barred(240, 120, 160)] * 80)
    covered, picture, opened = rows(score(tmp_path)[0])
    for row, frames in ((covered, 20), (picture, 1)):
        assert (row["verdict"], row["score"], row["logit"]) == ("uncertain", None, None)
        assert (row["frames"], row["error"]) == (frames, None)
        assert str(row["reason"]).startswith("nothing to see")
    assert (opened["verdict"], opened["frames"], opened["reason"]) == ("fake", 100, None)
    assert opened["logit"] == pytest.approx(112, abs=4)
    table = score(tmp_path / "covered.png", form="table")[0]
    assert "nothing to see" in table and "failed" not in table


def film(path: Path, *parts: tuple[int, float], fps: float = 5.0) -> Path:
    """A video of parts, each of one grey level and so many seconds."""
    pictures = [barred(level) for level, seconds in parts for _ in range(round(seconds * fps))]
    return encode(path, pictures, fps=fps)


def test_a_video_is_judged_by_the_stretches_that_run_finds(
    tmp_path: Path, model: str, score: Score
) -> None:
    clip, events = film(tmp_path / "clip.mp4", (5, 25), (250, 10), (5, 25)), tmp_path / "events"
    (row,) = rows(score(clip)[0])
    assert row["verdict"] == "fake" and row["score"] == pytest.approx(1.0)
    assert row["logit"] < 0 and row["frames"] == 300
    assert row["seconds"] == pytest.approx(60.0, abs=0.1)
    assert row["fake_share"] == pytest.approx(10 / 60, abs=0.02)
    (stretch,) = row["stretches"]
    assert stretch["begin_s"] == pytest.approx(26.0, abs=1) and stretch["score"] == row["score"]
    assert stretch["end_s"] == pytest.approx(36.0, abs=1)
    assert 25 < row["worst"]["end_s"] < 37
    flags = ["--model", model, "--alerts", str(events), "--headless", "--quiet"]
    assert main(["run", str(clip), *flags]) == 0
    (event,) = (json.loads(path.read_text()) for path in events.glob("*.json"))
    assert event["duration_s"] == pytest.approx(stretch["end_s"] - stretch["begin_s"])
    times = f"{stretch['begin_s']:.1f}-{stretch['end_s']:.1f}"
    assert f"clip.mp4  fake 17 %: {times} s" in score(clip, form="table")[0]
    (line,) = csv.DictReader(io.StringIO(score(clip, form="csv")[0]))
    assert line["stretches"] == times and float(line["fake_share"]) == row["fake_share"]


FILMS: dict[str, tuple[list[tuple[int, float]], float, str]] = {
    "a blip that no event is raised for": ([(100, 9), (145, 1.6), (100, 9)], 10.0, "real"),
    "a stretch that is not real": ([(5, 20), (131, 8), (5, 20)], 5.0, "uncertain"),
    "all of a short one": ([(250, 1)], 10.0, "fake"),
    "shorter than a verdict needs": ([(5, 0.2)], 10.0, "real"),
    "one frame": ([(250, 0.1)], 10.0, "fake"),
    "a frame every two seconds": ([(5, 60), (250, 20), (5, 60)], 0.5, "fake"),
}


@pytest.mark.parametrize(("parts", "fps", "verdict"), FILMS.values(), ids=FILMS.keys())
def test_the_verdict_on_a_video_is_that_of_its_worst_stretch(
    tmp_path: Path, score: Score, parts: list[tuple[int, float]], fps: float, verdict: str
) -> None:
    clip = film(tmp_path / "clip.mp4", *parts, fps=fps)
    (row,) = rows(score(clip, flags=["--threshold", "0.9"])[0])
    assert row["verdict"] == verdict
    assert bool(row["stretches"]) == (verdict == "fake")
    states = {"real": (0, 0.5), "uncertain": (0.5, 0.9), "fake": (0.9, 1)}[verdict]
    assert states[0] <= row["score"] <= states[1]


def test_part_of_a_long_video(tmp_path: Path, model: str, capsys: Any) -> None:
    clip = film(tmp_path / "clip.mp4", (5, 30), (250, 15), (5, 15))
    for command in ("score", "run"):
        flags = ["--seconds", "40-", "--every", "2", "--model", model]
        flags += ["--format", "json"] if command == "score" else ["--headless", "--json", "-"]
        assert main([command, str(clip), *flags]) == 0
        found = rows(capsys.readouterr().out)
        if command == "score":
            assert (found[0]["frames"], found[0]["verdict"]) == (50, "fake")
            assert found[0]["stretches"][0]["begin_s"] == pytest.approx(40.8, abs=0.2)
        else:
            assert [row["index"] for row in found] == list(range(200, 300, 2))
            assert [row["pts"] for row in found[:2]] == [40.0, 40.4]
            assert found[0]["logit"] > 0 > found[-1]["logit"]
    for wrong, code in ((["--seconds", "9-3"], 2), (["--every", "2", "--loop"], 1)):
        assert main(["run", str(clip), *wrong, "--model", model, "--headless"]) == code
        assert "found '9-3'" in (err := capsys.readouterr().err) or "Leave them out" in err


def test_an_animation_is_judged_as_a_clip(tmp_path: Path, score: Score) -> None:
    first, *rest = (PillowImage.fromarray(barred(level)) for level in (5, *range(230, 249)))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=rest, duration=100)
    (row,) = rows(score(tmp_path)[0])
    assert (row["verdict"], row["frames"]) == ("fake", 20)
    assert row["seconds"] == pytest.approx(2.0)
