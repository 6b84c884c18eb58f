from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import patchwatch
from edge.manifest import Calibration
from tests.fakes import make_manifest
from tests.onnx_files import write_model
from training.evaluation.compare import ALARMS, AUC, FOUND, Side, rows_of
from training.evaluation.record import auc

PLAIN = Calibration()


def side(reals: list[float], fakes: list[float]) -> Side:
    return Side(np.array(reals), np.array(fakes), PLAIN)


def test_it_measures_as_an_evaluation_does() -> None:
    one, other = side([-2.0, -1.0, 0.5, 3.0], [-1.5, 0.5, 2.0]), side([-1, -1, -1, 1], [1, 1, 1])
    rows = {row.measure: row for row in rows_of("x", "u", one, other, 0)}
    assert (rows[ALARMS].old, rows[ALARMS].new) == (0.5, 0.25)
    assert rows[FOUND].old == pytest.approx(2 / 3) and rows[FOUND].new == 1
    assert rows[AUC].old == pytest.approx(auc(one.reals, one.fakes))
    assert rows[AUC].change[0] == pytest.approx(rows[AUC].new - rows[AUC].old)


def test_a_picture_without_a_logit_is_a_mistake() -> None:
    lost = side([np.nan, -1.0], [np.nan, 1.0])
    rows = {row.measure: row.old for row in rows_of("x", "u", lost, lost, 0)}
    assert rows == {ALARMS: 0.5, FOUND: 0.5, AUC: 0.25}


def test_a_change_for_the_worse_is_one_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    reals, fakes = rng.normal(-2, 1, 80), rng.normal(2, 1, 80)
    old = Side(reals, fakes, PLAIN)
    for shift, worse in (
        (0.0, set()),
        (3.0, {ALARMS}),
        (-3.0, {FOUND}),
    ):
        new = Side(reals + shift, fakes + shift, PLAIN)
        rows = list(rows_of("x", "untouched", old, new, 0))
        assert [row.measure for row in rows] == [ALARMS, FOUND, AUC]
        assert {row.measure for row in rows if row.worse} == worse
    noise = Side(rng.normal(0, 1, 80), rng.normal(0, 1, 80), PLAIN)
    assert AUC in {row.measure for row in rows_of("x", "u", old, noise, 0) if row.worse}


def test_one_label_is_judged_by_what_it_allows() -> None:
    both = side([-1.0, 1.0], [])
    assert [row.measure for row in rows_of("x", "u", both, both, 0)] == [ALARMS]


def test_worse_is_another_exit_code_than_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, shift in (("0_real/a", -60), ("1_fake/b", 60)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(12):
            picture = np.full((16, 16, 3), 128 + shift + index, np.uint8)
            PillowImage.fromarray(picture).save(tmp_path / "data" / name / f"{index}.png")
    good = str(write_model(tmp_path / "good.onnx"))  # its logit is the brightness less 128
    blind = Calibration(temperature=1, bias=-100)
    bad = str(write_model(tmp_path / "bad.onnx", make_manifest(calibration=blind)))
    assert patchwatch.main(["compare", bad, good, str(tmp_path / "data")]) == 0
    assert patchwatch.main(["compare", good, bad, str(tmp_path / "data")]) == 3
    assert "Worse: photographs called fake in" in capsys.readouterr().out
    assert patchwatch.main(["compare", good, str(tmp_path / "no.onnx"), str(tmp_path)]) == 1


def test_a_folder_without_labels_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "tiny-ladeda", "tiny-ladeda", str(tmp_path)]
    assert patchwatch.main(words) == 1
    assert "expected labelled pictures (real: 0_real; fake: 1_fake)" in capsys.readouterr().err
    (tmp_path / "train" / "0_real").mkdir(parents=True)
    assert patchwatch.main(words) == 1
    assert " in val/, for which 'patchwatch label'" in capsys.readouterr().err


def test_shards_and_stores_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "shards.json").write_text("{}")
    for place, said in ((tmp_path, "has shards, which only"), ("s3://bucket/set", "is no folder")):
        assert patchwatch.main(["compare", "tiny-ladeda", "tiny-ladeda", str(place)]) == 1
        (sentence,) = capsys.readouterr().err.splitlines()
        assert said in sentence and "expected labelled" not in sentence
