"""Faces from a video to files, by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import patchwatch
from tests.edge.faces.pictures import scene, wall
from tests.edge.sources.clips import encode
from tests.fakes import make_manifest
from tests.onnx_files import write_model

FPS = 10


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("patches", [True, False])
def test_faces_that_move_are_judged_apart_and_keep_their_numbers(
    tmp_path: Path, patches: bool
) -> None:
    manifest = make_manifest(region="faces:96") if patches else make_manifest(patches=None)
    outputs = ("logit", "patch_logits") if patches else ("logit",)
    model = write_model(tmp_path / "m.onnx", manifest, outputs=outputs)
    places = [((20 + 4 * i, 60), (380, 40 + 3 * i)) for i in range(20)]
    shown = (scene(pair, light=(0.4, 1.25)) for pair in places)
    video = encode(tmp_path / "v.mp4", shown, fps=FPS)
    out = tmp_path / "out.jsonl"
    args = [] if patches else ["--region", "faces"]
    save = str(tmp_path / "seen.mp4")
    outputs_to = ["--json", str(out), "--save", save]
    code = patchwatch.main(
        ["run", str(video), "--model", str(model), "--headless", "--quiet", *args, *outputs_to]
    )
    assert code == 0
    records = lines(out)
    assert len(records) == 20 and Path(save).stat().st_size > 10_000
    for record in records:
        faces = record["faces"]
        assert isinstance(faces, list) and len(faces) == 2
        assert {face["track"] for face in faces} == {1, 2}
        assert "regions" not in record
        leads = max(faces, key=lambda face: face["score"])
        assert (record["score"], record["logit"]) == (leads["score"], leads["logit"])
    left, right = sorted(records[-1]["faces"], key=lambda face: face["xyxy"][0])
    assert (left["verdict"], right["verdict"]) == ("real", "fake")
    assert records[-1]["verdict"] == "fake"


def test_faces_come_and_go(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", make_manifest(region="faces:64"))
    with_face, without = scene([(200, 60)]), wall(360, 640)
    video = encode(
        tmp_path / "v.mp4", [without] * 6 + [with_face] * 8 + [without] * 8 + [with_face] * 8
    )
    out = tmp_path / "out.jsonl"
    args = ["run", str(video), "--model", str(model), "--headless", "--quiet"]
    args += ["--faces-rate", "100"]
    assert patchwatch.main([*args, "--json", str(out)]) == 0
    records = lines(out)
    for record in records[:6]:
        assert (record["faces"], record["verdict"], record["score"]) == ([], "uncertain", None)
        assert "error" not in record
    counts = [len(record["faces"]) for record in records[6:]]
    assert counts[2:8] == [1] * 6 and counts[8:16] == [0] * 8 and counts[-4:] == [1] * 4
    assert records[-1]["faces"][0]["track"] == 1


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    """Of pictures and of faces: bright ones are fake to both."""
    picture = write_model(tmp_path / "picture.onnx", make_manifest(region="resize:64"))
    card = make_manifest(name="close", region="faces:64", patches=None, face_side=2.2)
    faces = write_model(tmp_path / "faces.onnx", card, outputs=("logit",))
    return str(picture), str(faces)


@pytest.mark.parametrize(
    ("light", "wall_light", "verdict", "reason", "each"),
    [
        ((0.4, 1.6), 0.6, "fake", "face {} looks swapped", ("real", ["real", "fake"])),
        ((0.4, 0.4), 1.9, "fake", "picture looks generated", ("fake", ["real", "real"])),
        ((1.6, 1.6), 1.9, "fake", "picture looks generated, faces 1 and 2 look swapped", None),
        ((0.4, 0.4), 0.6, "real", None, ("real", ["real", "real"])),
    ],
)
def test_picture_and_faces_are_judged_in_one_run(
    tmp_path: Path,
    models: tuple[str, str],
    light: tuple[float, ...],
    wall_light: float,
    verdict: str,
    reason: str | None,
    each: tuple[str, list[str]] | None,
) -> None:
    places = [(40, 60), (380, 60)]
    around = np.clip(wall(360, 640) * wall_light, 0, 255).astype(np.uint8)
    shown = scene(places, light=light)
    for x, y in places:
        around[y : y + 220, x : x + 220] = shown[y : y + 220, x : x + 220]
    video = encode(tmp_path / "v.mp4", [around] * 20, fps=FPS)
    out, alerts = tmp_path / "out.jsonl", tmp_path / "alerts"
    args = ["run", str(video), "--model", models[0], "--faces-model", models[1], "--headless"]
    args += ["--quiet", "--json", str(out), "--alerts", str(alerts), "--faces-rate", "5"]
    assert patchwatch.main([*args, "--save", str(tmp_path / "seen.mp4")]) == 0
    last: dict[str, Any] = lines(out)[-1]
    left, right = sorted(last["faces"], key=lambda face: face["xyxy"])
    assert {left["track"], right["track"]} == {1, 2}
    reason = reason and reason.format(right["track"])
    assert (last["verdict"], last.get("reason")) == (verdict, reason)
    if each is not None:
        assert (last["picture"]["verdict"], [left["verdict"], right["verdict"]]) == each
    events = [json.loads(path.read_text()) for path in alerts.glob("*.json")]
    assert [event["reason"] for event in events] == [reason] * (verdict == "fake")
    assert sum("face model" in record["latency_ms"] for record in lines(out)) == 10

    alone = tmp_path / "alone.jsonl"
    args = ["run", str(video), "--model", models[0], "--faces-model", models[1], "--headless"]
    assert patchwatch.main([*args, "--quiet", "--json", str(alone), "--no-faces"]) == 0
    assert not {"faces", "picture", "reason"} & lines(alone)[-1].keys()


def test_score_asks_both_questions(
    tmp_path: Path, models: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    clip = [scene([(40 + 4 * i, 60), (380, 60)], light=(0.4, 1.6)) for i in range(8)]
    video = encode(tmp_path / "v.mp4", clip, fps=FPS)
    cv2.imwrite(str(tmp_path / "wall.png"), wall(360, 640) // 2)
    args = ["score", str(video), str(tmp_path / "wall.png"), "--model", models[0]]
    assert patchwatch.main([*args, "--faces-model", models[1], "--format", "json"]) == 0
    clip_line, wall_line = map(json.loads, capsys.readouterr().out.splitlines())
    assert clip_line["verdict"] == "fake"
    assert clip_line["reason"] in ("face 1 looks swapped", "face 2 looks swapped")
    assert (clip_line["frames"], clip_line["faces"], clip_line["score"]) == (
        8,
        2,
        clip_line["face"],
    )
    assert clip_line["picture"] < 0.5 < clip_line["face"]
    assert (wall_line["faces"], wall_line["face"], wall_line["reason"]) == (0, None, None)
    assert patchwatch.main([*args, "--faces-model", models[1]]) == 0
    assert f"({clip_line['reason']})" in capsys.readouterr().out
    assert patchwatch.main([*args, "--no-faces", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["faces"] is None
    # A model of pictures in place of one of faces, and a file that is not there.
    for wrong, code, why in ((models[0], 1, "expected a model of faces"), ("none", 2, "'none'")):
        assert patchwatch.main([*args, "--faces-model", wrong]) == code
        assert why in capsys.readouterr().err
