from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import patchwatch
from edge.manifest import Training
from training.checkpoint import Card, save_checkpoint
from training.evaluation.protocol import BENCHMARKS, figures, squeezed
from training.models import build

GREYS = {
    # platform → photographs, fakes; the model calls fake what is brighter than about 114.
    "reddit": ((50, 100, 150), (90, 140, 200)),
    "twitter": ((20, 30), (220, 240, 250)),
    "facebook": ((200, 210), (10, 20)),
}
BY_HAND = {
    # accuracy, AP, AUC, real and fake accuracy, in %. reddit: 200 f, 150 r, 140 f, 100 r, 90 f,
    # 50 r, so that AP is (1 + 2/3 + 3/5) / 3 and 6 of 9 pairs are in order.
    "reddit": ("66.7", "75.6", "66.7", "66.7", "66.7"),
    "twitter": ("100.0", "100.0", "100.0", "100.0", "100.0"),
    # 210 r, 200 r, 20 f, 10 f: AP is (1/3 + 2/4) / 2.
    "facebook": ("0.0", "41.7", "0.0", "0.0", "0.0"),
    "mean of 3": ("55.6", "72.4", "55.6", "55.6", "55.6"),
}


@pytest.fixture
def brightness(tmp_path: Path) -> Path:
    """A Tiny-LaDeDa whose logit is the mean of what a picture is normalised to."""
    model = build("tiny_ladeda", "raw")
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    for name in state:
        if name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            state[name] += 1
    state["bn1.bias"] += 10  # above 0, so that no ReLU is felt
    state["conv1.weight"][0] = 1 / 3
    for name, middle in (("conv2", 1), ("layer1.0.conv1", 0), ("layer1.0.conv2", 1)):
        state[f"{name}.weight"][0, 0, middle, middle] = 1
    state["fc.weight"][0, 0] = 1
    state["fc.bias"] -= 10
    model.load_state_dict(state)
    card = Card(
        name="brightness", architecture="tiny_ladeda", preprocessing="raw",
        training=Training(data="none"), licence="none",
    )  # fmt: skip
    path = tmp_path / "brightness.safetensors"
    save_checkpoint(path, model, card)
    return path


@pytest.fixture
def wildrf(tmp_path: Path) -> Path:
    root = tmp_path / "WildRF"
    for platform, labels in GREYS.items():
        for name, greys in zip(("0_real", "1_fake"), labels, strict=True):
            folder = root / "test" / platform / name
            folder.mkdir(parents=True)
            for number, grey in enumerate(greys):
                picture = np.full((41 + 9 * number, 70, 3), grey, np.uint8)
                cv2.imwrite(str(folder / f"{number}.png"), picture)
    return root


def test_every_platform_is_judged_against_its_own_photographs(
    wildrf: Path, brightness: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(brightness), str(wildrf), "--protocol", "published", "--threads", "1"]
    assert patchwatch.main(words) == 0
    shown = capsys.readouterr().out
    assert "Its authors state for LaDeDa: mean AP 93.7." in shown
    for name, values in BY_HAND.items():
        (line,) = (row for row in shown.splitlines() if row.strip().startswith(name))
        assert tuple(line.split()[len(name.split()) :]) == values


def test_a_mistake_is_one_sentence(
    wildrf: Path, brightness: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain" / "0_real").mkdir(parents=True)
    (tmp_path / "plain" / "1_fake").mkdir()
    (wildrf / "test" / "tumblr" / "0_real").mkdir(parents=True)
    (wildrf / "test" / "tumblr" / "1_fake").mkdir()
    for folder, said in ((tmp_path / "plain", "is for data sets laid out as"),
                         (wildrf, "test/tumblr: expected pictures of both labels")):  # fmt: skip
        words = ["evaluate", str(brightness), str(folder), "--protocol", "published"]
        assert patchwatch.main(words) in (1, 2)
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error


def test_a_picture_that_cannot_be_read_is_left_out_and_named(
    wildrf: Path, brightness: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    platform = next(iter(GREYS))
    broken = wildrf / "test" / platform / "0_real" / "broken.png"
    broken.write_bytes(b"nothing")
    words = ["evaluate", str(brightness), str(wildrf), "--protocol", "published", "--threads", "1"]
    assert patchwatch.main(words) == 1
    told = capsys.readouterr()
    assert "1 files are left out" in told.err and str(broken) in told.err.replace("\n", "")
    for name, values in BY_HAND.items():
        (line,) = (row for row in told.out.splitlines() if row.strip().startswith(name))
        assert tuple(line.split()[len(name.split()) :]) == values


def test_pictures_are_resized_as_the_script_does() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 511, 3)).astype(np.uint8)
    theirs = PillowImage.fromarray(image).resize((256, 256), PillowImage.Resampling.BILINEAR)
    assert np.array_equal(squeezed(image), np.asarray(theirs))


def test_half_is_not_above_half() -> None:
    assert figures(np.array([0.0]), np.array([0.0]))["real accuracy"] == 1
    assert figures(np.array([0.0]), np.array([0.0]))["fake accuracy"] == 0


def test_the_sets_of_each_mean() -> None:
    assert {name: len(found.sets) for name, found in BENCHMARKS.items()} == {
        "wildrf": 3, "forensynth": 8, "ufd": 8,
    }  # fmt: skip
