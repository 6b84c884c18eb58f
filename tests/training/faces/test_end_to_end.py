"""From trees of videos to a live verdict on each face, by the commands that a person would give."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from patchwatch import main
from tests.training.faces.made_videos import FPS, faceforensics_tree, person_frames, write_video
from tests.training.faces.made_videos import youtube_tree as make_youtube_tree
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
def test_from_videos_to_the_matrix_and_to_a_live_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # The fixed validation people of the original: films 339 and 878 are theirs.
    faceforensics_tree(Path("ff"), ((339, 878), (1, 5), (2, 6)), ("Deepfakes",))
    make_youtube_tree(Path("yt"))
    common = ("--cache", "sets/cache", "--workers", "1")
    call("data", "prepare", "faceforensics", "ff", "--output", "sets/base", *common)
    call("data", "prepare", "youtube", "yt", "--output", "sets/augment", *common)
    call("data", "prepare", "combine", "sets/base", "sets/augment", "--output", "sets/both")

    Path("faces.yaml").write_text(yaml.safe_dump({**TRAINING, "train_set": "both"}))
    sets = ("--base", "sets/base", "--augment", "sets/augment")
    machine = ("--device", "cpu", "--workers", "0", "--licence", "none")
    call("train", "faces.yaml", *sets, "--output", "run", *machine)
    assert (Path("run") / "faces" / "epoch-002.png").stat().st_size > 1000
    call("export", "run/faces.safetensors", "-o", "faces.onnx")

    models, tests = ("both=run/faces.safetensors",), ("base=sets/base", "augment=sets/augment")
    call("matrix", "--models", *models, "--tests", *tests, "-o", "matrix")
    assert {"base", "augment"} <= set(
        re.findall(r"base|augment", Path("matrix/matrix.md").read_text())
    )
    assert Path("matrix/matrix.png").stat().st_size > 5000

    write_video(Path("call.mp4"), person_frames(9, 2 * FPS))
    capsys.readouterr()
    call("run", "call.mp4", "--model", "faces.onnx", "--headless", "--json", "faces.jsonl")
    lines = [json.loads(line) for line in Path("faces.jsonl").read_text().splitlines()]
    seen = [face for line in lines for face in line["faces"]]
    assert len(seen) > FPS
    assert {face["track"] for face in seen} == {seen[0]["track"]}
    assert {face["verdict"] for face in seen} <= {"real", "fake", "uncertain"}
    assert all(isinstance(face["logit"], float) for face in seen)
