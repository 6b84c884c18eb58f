from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ModelError, RegionError, SourceError
from edge.manifest import Calibration
from edge.types import Image
from tests.fakes import grey, mean_minus_grey
from tests.training.evaluation.made import write_video
from tests.training.pictures import write_split
from training.evaluation.judge import judge
from training.evaluation.material import open_material
from training.evaluation.record import ModelFacts
from training.evaluation.scorers import Scorer
from training.evaluation.summary import summarise
from training.faces.sampling import sampled

UNTOUCHED = ("untouched",)


def brightness(name: str = "brightness", above: float = -1.0) -> Scorer:
    """Calls bright pictures fake, and gives no logit for those that are not bright enough."""

    def logit(image: Image) -> float:
        if image.shape[0] < 20:
            raise RegionError("too small.")
        return mean_minus_grey(image) if image.mean() > above else math.nan

    facts = ModelFacts(name=name, file="f", sha256="0", region="native", calibration=Calibration())
    return Scorer(facts, logit)


def test_a_video_has_the_mean_logit_of_its_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "0_real" / "a.mp4", [grey(level) for level in (50, 50, 90, 90)], fps=1)
    write_video(tmp_path / "1_fake" / "b.mp4", [grey(level) for level in (200, 60)], fps=1)
    record = judge([brightness()], open_material([tmp_path]), UNTOUCHED, fps=1.0)
    assert [item.frames for item in record.items] == [4, 2] and record.fps == 1.0
    logits = record.evaluation(record.models[0]).logits["untouched"]
    paths = [record.path(item) for item in record.items]
    means = [
        np.mean([mean_minus_grey(i) for i in (s.image for s in sampled(p, 1.0))]) for p in paths
    ]
    assert logits.tolist() == pytest.approx(means)
    assert means == pytest.approx([70 - 128, 130 - 128], abs=5)  # what the codec keeps of a grey
    summary = summarise(record, draws=10)
    column = summary.models[0].columns["untouched"]
    assert column.mean["AUC"] == (1.0, 1.0, 1.0)


def test_a_file_that_breaks_off_is_left_out_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8)
    for name in ("0_real/a.mp4", "1_fake/b.mp4"):
        write_video(tmp_path / name, list(noise[:3]))
    broken = tmp_path / "0_real" / "broken.mp4"
    broken.write_bytes(b"nothing")
    material = open_material([tmp_path])
    record = judge([brightness()], material, UNTOUCHED)
    assert len(record.items) == 2
    assert len(record.rejected) == 1 and "broken.mp4" in record.rejected[0]


def test_processes_prepare_the_same_pictures_in_the_same_order(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=1, seed=0)
    material = open_material([tmp_path])
    alone, helped = (
        judge([brightness()], material, ("untouched", "JPEG 75"), workers=n) for n in (0, 1)
    )
    assert alone.items == helped.items and alone.models == helped.models


def test_pictures_without_a_logit_are_counted_and_cost_no_other(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=2, seed=0)
    material = open_material([tmp_path])
    record = judge([brightness(), brightness("picky", above=128)], material, UNTOUCHED)
    whole, picky = summarise(record, draws=10).models
    assert whole.columns["untouched"].without_logit == 0
    assert 0 < picky.columns["untouched"].without_logit < 8
    assert picky.failure == "a logit is nan."


def test_a_model_that_never_answers_is_one_sentence(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=1, seed=0)
    with pytest.raises(ModelError, match=r"brightness gave no finite logit .* a logit is nan"):
        judge([brightness(above=300)], open_material([tmp_path]), UNTOUCHED)


def test_a_class_of_which_nothing_can_be_read_is_one_sentence(tmp_path: Path) -> None:
    write_video(tmp_path / "0_real" / "a.mp4", [grey(60)] * 2)
    (tmp_path / "1_fake").mkdir()
    (tmp_path / "1_fake" / "b.mp4").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="none of the generated pictures can be read"):
        judge([brightness()], open_material([tmp_path]), UNTOUCHED)
