from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.differences import ENGINE_BOUNDS
from edge.proof import COUNT, Infer, proof_frames, prove
from edge.tensorrt.record import Shape
from edge.types import Batch, Evidence
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
    assert proof.ok and proof.logit_bound == ENGINE_BOUNDS["fp32"]


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


def test_what_moves_all_frames_alike_is_taken_off_up_to_a_bound(model: Path) -> None:
    proof = prove(off(model, 0.03, 0.01), model, "fp32", SHAPE, centred=True)
    assert proof.shift == pytest.approx(0.03, abs=1e-5) and not proof.ok
    assert proof.max_logit == pytest.approx(0, abs=1e-5)
    assert proof.max_patch == pytest.approx(0.03, abs=1e-5)  # of those that nothing was added to
    proof = prove(off(model, 60.0), model, "int8", SHAPE, centred=True)
    assert proof.shift == 0.1 and not proof.ok
    assert prove(off(model, math.nan), model, "int8", SHAPE, centred=True).shift == 0


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
