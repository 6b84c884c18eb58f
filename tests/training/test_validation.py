from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from tests.training.pictures import smooth_noise
from training.data.crops import normalised
from training.data.folders import Picture
from training.degrade import JPEG_75, UNTOUCHED, jpeg
from training.evaluation import evaluate
from training.models import build
from training.validation import View, limited


def _pictures(count: int, label: int, source: str) -> list[Picture]:
    return [Picture(Path(f"{source}{i}"), label, source) for i in range(count)]


def test_each_source_is_limited_and_spread_over_its_order() -> None:
    pictures = [*_pictures(10, 0, "a"), *_pictures(2, 1, "b"), *_pictures(3, 1, "a")]
    kept = [p.path.name for p in limited(pictures, 3)]
    assert kept == ["a3", "a6", "a9", "b0", "b1", "a0", "a1", "a2"]
    assert limited(pictures, None) == tuple(pictures)


def test_the_middle_of_a_resized_picture_is_scored_and_the_mode_kept(tmp_path: Path) -> None:
    image = smooth_noise(np.random.default_rng(0), 96)
    PillowImage.fromarray(image[..., ::-1]).save(tmp_path / "a.png")
    model = build("tiny_ladeda", "NPR")
    pictures = [Picture(tmp_path / "a.png", 0, "a")]
    found = evaluate(model, pictures, [UNTOUCHED, JPEG_75], View(crop=40).of)
    assert model.training
    middle = image[28:68, 28:68]
    with torch.no_grad():
        model.eval()
        expected = [float(model(normalised(x)[None])) for x in (middle, jpeg(middle, 75))]
    assert [found.logits[c][0] for c in (UNTOUCHED, JPEG_75)] == pytest.approx(expected)
    assert View(resize=24).of(image).shape == (24, 24, 3)
    assert View(256, 224).describe() == "resized to 256 px, middle 224 px"
