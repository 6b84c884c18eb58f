from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.errors import EngineError, SourceError
from edge.tensorrt.record import Loss, Shape
from edge.types import Batch, Evidence
from export.differences import BOUNDS
from export.engine.proof import COUNT, Infer, measure_loss, middle, proof_frames, prove
from export.engine.worker import _require
from tests.edge.tensorrt.made import make_proof
from tests.fakes import make_manifest
from tests.onnx_files import write_model

SHAPE = Shape(batch=4, height=32, width=40)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx")


def off(model: Path, logit: float = 0.0, patch: float = 0.0) -> Infer:
    """The model itself, with something added to its logits and to one of its patches."""
    backend = OnnxRuntimeBackend(model)

    def infer(frames: Batch) -> list[Evidence]:
        found = []
        for item in backend.infer(frames):
            assert item.patch_logits is not None
            item.patch_logits[0, 0] += patch
            found.append(Evidence(item.logit + logit, item.patch_logits))
        return found

    return infer


def test_what_is_the_same_is_proven(model: Path) -> None:
    proof = prove(off(model), model, "fp32", SHAPE)
    assert (proof.frames, proof.max_logit, proof.max_patch, proof.agreement) == (COUNT, 0, 0, 1)
    assert proof.ok and proof.logit_bound == BOUNDS["fp32"]


@pytest.mark.parametrize(
    ("logit", "patch", "ok"),
    [(0.0009, 0, True), (0.5, 0, False), (0, 0.5, False), (0, 0.009, True)],
)
def test_differences_are_judged_relative_to_what_is_large(
    model: Path, logit: float, patch: float, ok: bool
) -> None:
    # Some patch logit of every map is beyond 9, and some logit within 1.
    proof = prove(off(model, logit, patch), model, "fp32", SHAPE)
    assert proof.max_logit == pytest.approx(logit, abs=1e-4)
    assert proof.max_patch == pytest.approx(patch, abs=1e-4)
    assert proof.ok is ok


def test_a_large_difference_shows_in_the_verdicts(model: Path) -> None:
    assert prove(off(model, 60.0), model, "fp32", SHAPE).agreement < 1


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_is_never_proven(model: Path, wrong: float) -> None:
    for proof in (
        prove(off(model, logit=wrong), model, "int8", SHAPE),
        prove(off(model, patch=wrong), model, "int8", SHAPE),
    ):
        assert not proof.ok
        assert proof.model_validate_json(proof.model_dump_json()) == proof


def test_a_map_of_another_size_or_none_is_never_proven(model: Path) -> None:
    def cut(frames: Batch) -> list[Evidence]:
        return [Evidence(e.logit, np.zeros((1, 1), np.float32)) for e in off(model)(frames)]

    def without(frames: Batch) -> list[Evidence]:
        return [Evidence(e.logit) for e in off(model)(frames)]

    assert not prove(cut, model, "int8", SHAPE).ok
    assert not prove(without, model, "int8", SHAPE).ok


def test_a_model_without_patches_is_proven_by_its_logit(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", make_manifest(patches=None), outputs=("logit",))
    with OnnxRuntimeBackend(model) as backend:
        proof = prove(backend.infer, model, "fp32", SHAPE)
    assert proof.ok and proof.max_patch is None


def test_single_frames_and_full_batches_are_both_run(model: Path) -> None:
    sizes: list[int] = []

    def infer(frames: Batch) -> list[Evidence]:
        sizes.append(len(frames))
        return off(model)(frames)

    prove(infer, model, "fp32", SHAPE)
    assert sum(sizes) == COUNT and {1, 4} <= set(sizes)


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


def test_pictures_that_are_all_too_small_are_a_sentence(labelled: Path, tmp_path: Path) -> None:
    large = Shape(batch=1, height=512, width=512)
    with pytest.raises(SourceError, match=r"smaller than the engine's frames of 512×512.*--static"):
        measure_loss(labelled, write_model(tmp_path / "m.onnx"), mean, large)


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


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (512, 512)])
def test_frames_differ_from_each_other_and_not_from_run_to_run(size: tuple[int, int]) -> None:
    frames = list(proof_frames(*size))
    assert len(frames) == len({f.tobytes() for f in frames}) == COUNT
    assert all(f.shape == (*size, 3) and f.dtype == np.uint8 for f in frames)
    assert all(f.flags.c_contiguous for f in frames)
    assert all(np.array_equal(a, b) for a, b in zip(frames, proof_frames(*size), strict=True))
    scenes = np.stack(frames[3:])
    assert scenes.min() == 0 and scenes.max() == 255
    assert scenes.std(axis=(1, 2, 3)).min() > 5
