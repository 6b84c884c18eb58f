"""Faces from a video to files, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import patchwatch
from tests.edge.faces.pictures import scene, wall
from tests.edge.sources.clips import encode
from tests.fakes import make_manifest
from tests.onnx_files import write_model

FPS = 10


def lines(path: Path) -> list[dict[str, object]]:
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
    left, right = sorted(records[-1]["faces"], key=lambda face: face["xyxy"][0])  # type: ignore[call-overload]  # a list
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
    assert patchwatch.main([*args, "--json", str(out)]) == 0
    records = lines(out)
    for record in records[:6]:
        assert (record["faces"], record["verdict"], record["score"]) == ([], "uncertain", None)
        assert "error" not in record
    counts = [len(record["faces"]) for record in records[6:]]  # type: ignore[arg-type]  # lists
    assert counts[2:8] == [1] * 6 and counts[8:16] == [0] * 8 and counts[-4:] == [1] * 4
    assert records[-1]["faces"][0]["track"] == 1  # type: ignore[index]  # a list
