from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import EngineError, SourceError
from edge.tensorrt.record import Loss, Shape
from edge.types import Batch, Evidence
from export.engine.proof import measure_loss, middle
from export.engine.worker import _require
from tests.edge.tensorrt.made import make_proof
from tests.onnx_files import write_model

SMALL = Shape(batch=1, height=16, width=24)


def mean(frames: Batch) -> list[Evidence]:
    return [Evidence(float(frame.mean()) - 128) for frame in frames]


def upside_down(frames: Batch) -> list[Evidence]:
    return [Evidence(-item.logit) for item in mean(frames)]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Dark photographs and bright pictures of two generators, and one that is too small."""
    levels = {"0_real/camera": range(10, 60, 10), "1_fake/one": range(120, 170, 10)}
    levels["1_fake/two"] = range(130, 180, 10)
    for name, values in levels.items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for value in values:
            cv2.imwrite(str(folder / f"{value}.png"), np.full((40, 50, 3), value, np.uint8))
    small = np.zeros((8, 8, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "data" / "0_real" / "camera" / "small.png"), small)
    return tmp_path / "data"


def test_measures_both_on_the_same_pictures(labelled: Path, tmp_path: Path) -> None:
    told: list[str] = []
    model = write_model(tmp_path / "m.onnx")
    loss = measure_loss(labelled, model, mean, SMALL, told.append)
    assert (loss.reference_auc, loss.engine_auc, loss.agreement) == (1, 1, 1)
    assert loss.pictures == 15, "the small one is left out"
    assert told[-1] == "labelled pictures, 16 of 16"
    worse = measure_loss(labelled, model, upside_down, SMALL)
    assert (worse.reference_auc, worse.engine_auc) == (1, 0)
    large = Shape(batch=1, height=512, width=512)
    with pytest.raises(SourceError, match=r"smaller than the engine's frames of 512×512.*--static"):
        measure_loss(labelled, model, mean, large)


def test_the_middle_lies_on_the_grid_of_blocks() -> None:
    image = np.arange(40 * 50 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 50, 3)
    assert np.array_equal(middle(image, SMALL), image[8:24, 8:32])


@pytest.mark.parametrize(("engine_auc", "refused"), [(0.7451, False), (0.7449, True), (0.8, False)])
def test_more_than_is_allowed_is_refused_with_the_figures(engine_auc: float, refused: bool) -> None:
    loss = Loss(data="mine", reference_auc=0.75, engine_auc=engine_auc, pictures=600, agreement=0.9)
    proof = make_proof(loss=loss)
    if not refused:
        _require(proof)
        return
    with pytest.raises(EngineError, match=r"0\.7449, the model file's 0\.7500; it may cost 0\.005"):
        _require(proof)
