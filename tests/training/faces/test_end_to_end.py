"""From trees of videos to a live verdict on each face, by the commands that a person would give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from mlflow.artifacts import download_artifacts

from patchwatch import main
from tests.shared_data import shared
from tests.training.faces import made_videos
from tests.training.faces.made_videos import (
    FPS,
    clip_faces,
    faceforensics_tree,
    person_frames,
    write_video,
)
from tests.training.faces.made_videos import youtube_tree as make_youtube_tree
from training.experiments import RUN_ID
from training.faces.matrix_report import Matrix
from training.models import resnet18

TRAINING = {
    "kind": "faces",
    "name": "faces",
    "size": 64,
    "epochs": 2,
    "batch": 4,
    "max_rate": 3e-3,
    "weight_decay": 0.0,
    "dropout": 0.1,
    "init": None,
    "augment": None,
    "grid": 4,
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An eighth of the channels on one thread: faces here are small, and so is the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(resnet18, "PLANES", (8, 16, 32, 64))
    yield
    torch.set_num_threads(threads)


def call(*words: object) -> None:
    assert main([str(word) for word in words]) == 0, words


@pytest.mark.slow
@pytest.mark.parametrize("people", ["photographs", "clips"])
def test_the_three_questions_are_answered_from_videos_to_a_live_verdict(
    people: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if people == "clips":
        found = sorted(shared("faces/train/0_real").glob("*-person/*.mp4"))[::4]
        monkeypatch.setattr(made_videos, "photograph", clip_faces(found))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # The fixed validation people of the original: films 339 and 878 are theirs.
    faceforensics_tree(Path("T_deepfake"), ((339, 878), (1, 6)), ("Deepfakes",), compression="c0")
    make_youtube_tree(Path("augment_deepfake"))
    common = ("--cache", "sets/cache", "--workers", "1")
    words = ("T_deepfake", "--compression", "raw", "--output", "sets/base")
    call("data", "prepare", "faceforensics", *words, *common)
    call("data", "prepare", "youtube", "augment_deepfake", "--output", "sets/augment", *common)

    Path("faces.yaml").write_text(yaml.safe_dump(TRAINING))
    tests = ("base=sets/base", "augment=sets/augment", "--split", "val")
    machine = ("--device", "cpu", "--workers", "0", "--licence", "none")
    call("matrix", "--train", "faces.yaml", "--tests", *tests, "-o", "out", *machine)
    matrix = Matrix.model_validate_json(Path("out/matrix.json").read_bytes())
    worlds = {(cell.model, cell.test) for cell in matrix.cells if cell.auc}
    assert worlds == {*product(("base", "augment", "both"), ("base", "augment"))}
    store = {"tracking_uri": f"sqlite:///{tmp_path}/out/models/mlflow.db", "dst_path": "kept"}
    for name in ("base", "augment", "both", "matrix"):
        run = (Path("out/models") / name / RUN_ID).read_text().strip()
        kept = Path(download_artifacts(run_id=run, **store))
        model = "both" if name == "matrix" else name
        file = f"faces-{model}.safetensors"
        assert (kept / file).read_bytes() == Path(f"out/models/{model}/{file}").read_bytes()
    assert (Path("kept") / "epoch-002.png").stat().st_size > 1000
    assert (Path("kept") / "matrix.png").stat().st_size > 5000
    call("export", "kept/faces-both.safetensors", "-o", "faces.onnx")

    write_video(Path("call.mp4"), person_frames(9, 2 * FPS))
    capsys.readouterr()
    call("run", "call.mp4", "--model", "faces.onnx", "--headless", "--json", "faces.jsonl")
    lines = [json.loads(line) for line in Path("faces.jsonl").read_text().splitlines()]
    seen = [face for line in lines for face in line["faces"]]
    assert len(seen) > FPS
    assert {face["track"] for face in seen} == {seen[0]["track"]}
    assert {face["verdict"] for face in seen} <= {"real", "fake", "uncertain"}
    assert all(isinstance(face["logit"], float) for face in seen)
