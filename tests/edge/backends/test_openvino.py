"""OpenVINO itself on this machine's CPU, beside ONNX Runtime."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.backends import BackendChoice, open_backend
from edge.backends import openvino as ours
from edge.errors import MissingDependency, ModelError, UsageError
from edge.proof import prove
from edge.regions import RegionSpec
from edge.tensorrt.record import Proof, Shape
from edge.types import Evidence
from edge.weights import TINY, find_model
from tests.fakes import make_manifest
from tests.onnx_files import write_model
from tests.programs import in_python

pytest.importorskip("openvino")
CHOICE = BackendChoice("openvino", threads=1, region=RegionSpec("center", 64))
"""What is proven, is at the size of the region."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PATCHWATCH_ENGINES", str(tmp_path / "engines"))
    yield tmp_path / "engines"


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that says that it computes in half precision; this one would compute in float32."""
    monkeypatch.setattr(ours, "half_of", lambda core, device: "bf16")


def test_gives_the_evidence_of_onnx_runtime_at_every_size_and_batch() -> None:
    model = find_model(TINY)
    exact = replace(CHOICE, precision="fp32")  # a CPU may have its own
    with open_backend(model, 1) as reference, open_backend(model, choice=exact) as backend:
        assert backend.name == "openvino" and backend.manifest == reference.manifest
        kept: list[tuple[Evidence, Any, Evidence]] = []
        for count, height, width in ((1, 64, 96), (3, 40, 40), (1, 71, 95)):
            frames = np.random.default_rng(count).integers(0, 256, (count, height, width, 3), "u1")
            for one, other in zip(backend.infer(frames), reference.infer(frames), strict=True):
                kept.append((one, np.array(one.patch_logits), other))
        for one, then, other in kept:
            assert one.logit == pytest.approx(other.logit, abs=1e-3)
            assert np.array_equal(np.array(one.patch_logits), then), "overwritten since"
            np.testing.assert_allclose(then, np.array(other.patch_logits), atol=1e-3)


def test_a_model_without_patches_gives_no_map(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", make_manifest(patches=None), outputs=("logit",))
    with open_backend(path, choice=CHOICE) as backend:
        (evidence,) = backend.infer(np.full((1, 8, 8, 3), 138, np.uint8))
    assert evidence.logit == pytest.approx(10) and evidence.patch_logits is None


def test_sizes_are_compiled_apart_where_a_device_takes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ours.DEVICES, "npu", "CPU")
    with ours.OpenVinoBackend(
        ours.load_core(), write_model(tmp_path / "m.onnx"), device="npu"
    ) as backend:
        for side in (8, 16, 24, 32, 8):
            assert backend.infer(np.full((1, side, side, 3), 130, np.uint8))[0].logit == 2
        assert len(backend._requests) == 3


def test_what_was_compiled_and_proven_is_kept_and_damage_is_made_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, proven = write_model(tmp_path / "m.onnx"), list[str]()

    def counted(*arguments: Any) -> Proof:
        proven.append("proven")
        return prove(*arguments)

    monkeypatch.setattr(ours, "prove", counted)
    frames = np.full((1, 9, 9, 3), 131, np.uint8)
    for _ in range(2):
        with open_backend(model, choice=CHOICE) as backend:
            backend.infer(frames)
    assert len(proven) == 1
    blobs, proofs = list(cache.rglob("*.blob")), list(cache.rglob("proof-*.json"))
    assert len(blobs) == len(proofs) == 1
    for path in (*blobs, *proofs):
        path.write_bytes(path.read_bytes()[:40])
    with open_backend(model, choice=CHOICE) as backend:
        assert backend.infer(frames)[0].logit == 3
    assert len(proven) == 2


def made(mean: float, agreement: float = 1.0, scaled: float = 0.1) -> Proof:
    return Proof(
        frames=16,
        max_logit=scaled,
        max_patch=None,
        logit_scaled=scaled,
        patch_scaled=None,
        mean_logit=mean,
        agreement=agreement,
        logit_bound=0.25,
        patch_bound=0.25,
    )


@pytest.mark.parametrize(
    ("proof", "precision"),
    [
        (made(0.03), "fp16"),
        (made(0.05), "fp32"),
        (made(0.0, agreement=0.9), "fp32"),
        (made(0.1, scaled=0.3), "fp32"),  # past the bound of its precision
    ],
)
def test_half_precision_is_taken_unasked_where_it_changes_no_verdict(
    tmp_path: Path,
    halves: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    proof: Proof,
    precision: str,
) -> None:
    caplog.set_level("INFO")
    proofs = {"fp16": proof, "fp32": made(0.0)}
    monkeypatch.setattr(ours, "prove", lambda _, __, asked, *___: proofs[asked])
    with open_backend(write_model(tmp_path / "m.onnx"), choice=CHOICE) as backend:
        assert getattr(backend, "precision", None) == backend.manifest.precision == precision
    assert ("using float32" in caplog.text) is (precision == "fp32")


def test_weights_are_rounded_so_that_their_sums_stay(halves: None) -> None:
    core = ours.load_core()

    def kernels(graph: Any) -> list[Any]:
        nodes = [n for n in graph.get_ops() if n.get_type_name().endswith("Convolution")]
        sources = [n.input_value(1).get_node() for n in nodes]
        return [
            (s if s.get_type_name() == "Constant" else s.input_value(0).get_node()).data.copy()
            for s in sources
        ]

    graph = core.read_model(str(find_model("lite0-levels")))
    before = kernels(graph)
    ours._keep_sums(graph, "bf16")
    for exact, rounded in zip(before, kernels(graph), strict=True):
        np.testing.assert_array_equal(ours._to_bf16(rounded), rounded)
        if exact.shape[2] > 1:
            sums = [each.sum((2, 3)) for each in (exact, rounded, ours._to_bf16(exact))]
            kept, one_by_one = (np.abs(each - sums[0]).mean() for each in sums[1:])
            assert kept < one_by_one / 2


def test_what_rounding_moves_all_frames_by_is_taken_off(tmp_path: Path) -> None:
    with open_backend(write_model(tmp_path / "m.onnx"), choice=CHOICE) as backend:
        assert isinstance(backend, ours.OpenVinoBackend) and backend.proof is not None
        frames = np.full((1, 9, 9, 3), 131, np.uint8)
        (before,) = backend.infer(frames)
        backend.proof = backend.proof.model_copy(update={"shift": -0.25})
        (after,) = backend.infer(frames)
    assert before.patch_logits is not None
    assert after.logit == before.logit + 0.25
    np.testing.assert_array_equal(after.patch_logits, before.patch_logits + np.float32(0.25))


def test_what_differs_too_much_is_refused(
    tmp_path: Path, halves: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "m.onnx")
    write_model(tmp_path / "m.int8.onnx", make_manifest(precision="int8"))
    for precision, proof in (("fp16", made(0.1, scaled=0.3)), ("int8", made(1.5, scaled=0.2))):
        monkeypatch.setattr(ours, "prove", lambda *_, proof=proof: proof)
        with pytest.raises(ModelError, match=rf"{precision} in OpenVINO .* differs too much"):
            open_backend(model, choice=BackendChoice("openvino", precision=precision))  # type: ignore[arg-type]  # two of them


def test_what_cannot_be_had_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="no int8 variant beside it"):
        open_backend(model, choice=BackendChoice("openvino", precision="int8"))
    with pytest.raises(ModelError, match=r"--device npu: OpenVINO finds no NPU here, only CPU"):
        open_backend(model, choice=BackendChoice("openvino", device="npu"))
    monkeypatch.setattr(ours, "half_of", lambda core, device: None)
    with pytest.raises(UsageError, match="a CPU that computes in half precision, found one with"):
        open_backend(model, choice=BackendChoice("openvino", precision="fp16"))
    backend = open_backend(model, choice=CHOICE)
    with backend, pytest.raises(ModelError, match=r"OpenVINO failed on frames of shape \(1, 4, 4"):
        backend.infer(np.zeros((1, 4, 4, 2), np.uint8))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match=r"pip install 'patchwatch\[openvino\]'"):
        open_backend(model, choice=CHOICE)


def test_ctrl_c_is_met_after_models_were_closed() -> None:
    """The plugin's stack for signal handlers must outlive the models that were compiled."""
    code = """
import signal
from edge.backends import BackendChoice, open_backend
from edge.regions import RegionSpec
from edge.weights import TINY, find_model
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
small = RegionSpec("center", 64)
choice = BackendChoice("openvino", precision="fp32", threads=1, region=small)
first = open_backend(find_model(TINY), choice=choice)
second = open_backend(find_model(TINY), choice=choice)
first.__exit__(None, None, None)
del first
second.__exit__(None, None, None)
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = in_python(code)
    assert done.stdout == "interrupted\n", (done.returncode, done.stderr)


def test_a_proof_takes_no_longer_than_it_may(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    with open_backend(model) as backend:
        shape = Shape(batch=1, height=16, width=16)
        assert prove(backend.infer, model, "fp32", shape, longest_s=0.0).frames == 6
