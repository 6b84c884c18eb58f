"""The way back from life: what a model was unsure of is labelled, and the next one learns it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest

import patchwatch
from edge.types import Image
from tests.training.pictures import smooth_noise, write_split
from training.checkpoint import load_checkpoint

pytest.importorskip("torch")

CONFIG = """
name: watcher
preprocessing: NPR
steps: 60
batch: 8
rate: 0.02
schedule: cosine
validate_every: 30
policy: {untouched: 1, two: 0}
data: {crop: 32, first_compression: false}
validation: {columns: [untouched], calibration: [untouched], report: [untouched], crop: 32}
"""
MACHINE = ["--workers", "0", "--threads", "1", "--device", "cpu", "--licence", "none",
           "--experiments", "none"]  # fmt: skip


def fence(rng: np.random.Generator) -> Image:
    """What the camera sees: a scene behind fine bars, nothing generated."""
    scene = smooth_noise(rng, 128).astype(int)
    bars = (np.arange(128) % 2 * 40)[None, :, None]
    seen: Image = np.clip(scene + bars, 0, 255).astype(np.uint8)
    return seen


def film(path: Path, images: list[Image]) -> None:
    """A clip of two frames a second, hardly compressed."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=2, options={"crf": "0"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[..., ::-1]), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_what_a_camera_was_wrongly_accused_of_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_split(Path("known/train"), per_source=6, seed=0)
    write_split(Path("known/val"), per_source=6, seed=1)
    Path("c.yaml").write_text(CONFIG)
    train = ["train", "c.yaml", "--data", "known", *MACHINE]
    assert patchwatch.main([*train, "--output", "old"]) == 0
    old = "old/watcher.safetensors"
    assert patchwatch.main(["export", old, "-o", "old.onnx"]) == 0

    rng = np.random.default_rng(5)
    film(Path("gate.mp4"), [fence(rng) for _ in range(24)])
    Path("keep.yaml").write_text(
        "source: gate.mp4\nmodel: old.onnx\nkeep: {folder: kept, every_s: 0.9}\n"
        "verdict: {window_s: 1, min_evidence_s: 0, min_frames: 1}\noutput: {window: false}\n"
    )
    assert patchwatch.main(["run", "--config", "keep.yaml", "--threads", "1"]) == 0
    kept = sorted(Path("kept").glob("*.png"))
    assert 10 <= len(kept) <= 13
    facts = json.loads(kept[0].with_suffix(".json").read_text())
    assert facts["model"] == "watcher" and facts["why"] in ("alarm", "doubtful", "disputed")

    # The clip is of one hour, and so of one split; the last six stand for the next one's.
    for path in [file for one in kept[-6:] for file in (one, one.with_suffix(".json"))]:
        later = f"{int(path.name[:8]) + 1}{path.name[8:]}"
        path.rename(path.with_name(later))
    monkeypatch.setattr("sys.stdin", io.StringIO("f\nb\n" + "r\n" * len(kept)))
    assert patchwatch.main(["label", "kept", "--no-preview"]) == 0
    assert f"{len(kept)} real, 0 generated, 0 left" in capsys.readouterr().err
    assert len(list(Path("kept/train/0_real/gate").glob("*.png"))) == len(kept) - 6

    more = ["--init", old, "--set", "data.more=[kept]"]
    assert patchwatch.main([*train, "--output", "new", *more]) == 0
    new = "new/watcher.safetensors"
    assert "gate" in load_checkpoint(Path(new))[1].training.data
    capsys.readouterr()
    assert patchwatch.main(["compare", old, new, "known", "kept", "--threads", "1"]) == 0
    table = capsys.readouterr().out
    before, after = (alarms(table, column) for column in (0, 1))
    assert after < before == 1.0
    # The other way round it is a step back, and no script would take it.
    assert patchwatch.main(["compare", new, old, "known", "kept", "--threads", "1"]) == 3
    assert "Worse: photographs called fake in kept, " in capsys.readouterr().out


def alarms(table: str, column: int) -> float:
    """Of the kept frames untouched, by the old model or the new."""
    (line,) = (row for row in table.splitlines() if row.split()[:2] == ["kept", "untouched"])
    return float(line.partition("called fake")[2].split()[column])
