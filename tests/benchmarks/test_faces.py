from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import faces
from benchmarks.end_to_end.clips import Size
from benchmarks.faces import (
    DISTANCES,
    LEAST_FPS,
    PEOPLE,
    Measured,
    Plan,
    Scene,
    bound_of,
    main,
    measure,
    result,
    rows,
    usual_path,
    write_clip,
)
from benchmarks.results_file import conditions_now
from edge.faces import open_finder
from edge.faces.boxes import as_rows, overlaps
from edge.faces.finders import EVERY
from edge.sources import open_source

SMALL = Size("small", 540, 960)
"""Large enough for the faces to be found."""


def test_the_scene_says_where_its_faces_are() -> None:
    scene = Scene(SMALL)
    with open_finder(longest_side=960) as finder:
        for index in (0, 25):
            found = as_rows([face.xyxy for face in finder.find(scene.picture(index))])
            best = overlaps(scene.boxes(index), found).max(axis=1)
            assert len(found) == PEOPLE and (best > 0.6).all()
    assert np.abs(scene.boxes(25) - scene.boxes(0)).max() > 20


def test_the_clip_has_the_scenes_frames(tmp_path: Path) -> None:
    scene = Scene(SMALL)
    with open_source(str(write_clip(tmp_path / "c.mp4", scene, 4))) as source:
        images = [frame.image for frame in source if frame is not None]
    assert len(images) == 4
    apart = np.abs(images[2].astype(int) - scene.picture(2)).mean()
    assert apart < np.abs(images[0].astype(int) - scene.picture(2)).mean() and apart < 8


def test_a_round_visits_every_candidate(tmp_path: Path) -> None:
    plan = Plan(frames=9, rounds=2)
    scene = Scene(SMALL)
    key, measured = measure(plan, scene, write_clip(tmp_path / "c.mp4", scene, plan.frames))
    assert key.startswith("dlib-hog-")
    assert [one.every for one in measured] == [None, *DISTANCES]
    assert all(len(one.seconds) == 2 and min(one.seconds) > 0 for one in measured)
    assert [one.looks for one in measured] == [0, 9, 5, 3, 2]
    found = rows(plan, measured)
    assert found[0]["ratio_to_decode"] == 1.0 and "looks" not in found[0]
    for row in found[1:]:
        assert row["followed_share"] == 1.0 and row["faces_cut"] == 9 * PEOPLE
    content = result(plan, key, found, conditions_now().model_dump())
    assert json.loads(json.dumps(content, allow_nan=False))["rows"] == found
    assert usual_path(content, tmp_path).name.startswith("faces_")


def test_rates_and_the_bound_follow_from_the_medians() -> None:
    plan = Plan(frames=50)
    bare = Measured(None, [0.2, 0.25, 9.0])
    usual = Measured(EVERY, [2.0, 2.5, 2.4], looks=13, shown=150, overlaps=[0.9, 0.7, 0.2])
    found = rows(plan, [bare, usual])
    assert (found[0]["fps"], found[1]["fps"]) == (200.0, 20.83)
    assert found[1]["ratio_to_decode"] == pytest.approx(20.83 / 200, abs=1e-3)
    assert found[1]["followed_share"] == 0.6667 and found[1]["overlap_least"] == 0.2
    assert bound_of(found) == {"every": EVERY, "fps": 20.83, "least_fps": LEAST_FPS, "kept": False}


def test_the_command_writes_a_file_and_gives_the_cores_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faces, "HD", SMALL)
    cores = os.sched_getaffinity(0)
    path = tmp_path / "faces.json"
    code = main(["--frames", "5", "--rounds", "1", "--report", str(path)])
    content = json.loads(path.read_text())
    assert code == (0 if content["bound"]["kept"] else 1)
    assert capsys.readouterr().out == f"{path}\n"
    assert content["theme"] == "faces" and content["config"]["frames"] == 5
    assert content["config"]["cores"] <= 2 and len(content["rows"]) == 5
    assert os.sched_getaffinity(0) == cores


def test_a_missing_dlib_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faces, "HD", SMALL)
    monkeypatch.setitem(sys.modules, "dlib", None)
    assert main(["--frames", "2", "--rounds", "1"]) == 1
    assert "pip install dlib-bin" in capsys.readouterr().err
