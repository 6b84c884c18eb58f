from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto

from edge.backends import open_backend
from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.errors import (
    ContractError,
    GpuError,
    ModelError,
)
from edge.weights import find_model, variant
from tests.fakes import make_manifest
from tests.onnx_files import write_model
from tests.programs import in_python


def test_scores_a_batch_in_order(tmp_path: Path) -> None:
    frames = np.stack([np.full((6, 9, 3), value, np.uint8) for value in (0, 128, 255)])
    with open_backend(write_model(tmp_path / "m.onnx"), threads=1) as backend:
        assert (backend.name, getattr(backend, "device", None)) == ("onnxruntime", "cpu")
        backend.warm_up(6, 9)
        evidence = backend.infer(frames)
    assert [item.logit for item in evidence] == [-128.0, 0.0, 127.0]
    maps = [item.patch_logits for item in evidence]
    assert all(patch is not None and patch.shape == (6, 9) for patch in maps)
    path = write_model(tmp_path / "m.onnx", make_manifest(patches=None), outputs=("logit",))
    with open_backend(path) as backend:
        (bare,) = backend.infer(np.zeros((1, 4, 4, 3), np.uint8))
    assert bare.patch_logits is None


def test_a_file_that_onnx_runtime_refuses_is_one_sentence(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    entry = path.read_bytes()[-len(make_manifest().to_json()) - 20 :]
    path.write_bytes(b"\x08\x08" + entry[entry.index(b"\x72") :])  # a manifest, and no graph
    with pytest.raises(ModelError, match=r"m\.onnx: not an ONNX model .*Copy or export it again"):
        open_backend(path)


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"input_name": "image"}, r"image: tensor\(uint8\).*Expected the input frames"),
        ({"input_type": TensorProto.FLOAT}, r"tensor\(float\)"),
        ({"outputs": ("logit",)}, "patch_logits"),
    ],
)
def test_another_contract_says_what_was_expected_and_found(
    tmp_path: Path, graph: dict[str, Any], found: str
) -> None:
    with pytest.raises(ContractError, match=found):
        open_backend(write_model(tmp_path / "a.onnx", **graph))


def test_a_fixed_size_is_reported_with_the_way_out(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", fixed_hw=(8, 12))
    with open_backend(path) as backend:
        assert len(backend.infer(np.zeros((2, 8, 12, 3), np.uint8))) == 2
        with pytest.raises(ModelError, match=r"8×12 pixels, got 8×13.*region"):
            backend.infer(np.zeros((1, 8, 13, 3), np.uint8))


LOST = (
    "[E:onnxruntime:Default, provider_bridge_ort.cc:1745 TryGetProviderInfo_CUDA] "
    "[ONNXRuntimeError] : 1 : FAIL : Failed to load library libonnxruntime_providers_cuda.so with "
    "error: libcudnn.so.9: cannot open shared object file: No such file or directory\n"
)


RealSession = ort.InferenceSession


class Pretending:
    """An ONNX Runtime of a build for GPUs, as far as opening a session goes: this build has none.

    Args:
        runs_on: the provider that a session ends up with.
        writes: to stderr, from C, while a session is made.
        raises: in place of making one.
        fails: what running a session raises.
    """

    def __init__(
        self,
        runs_on: str = "CUDAExecutionProvider",
        writes: str = "",
        raises: str = "",
        fails: str = "",
    ) -> None:
        self.runs_on, self.writes, self.raises, self.fails = runs_on, writes, raises, fails
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.fallback_disabled = False

    def open(self, path: str, options: Any, providers: Any, **others: Any) -> Any:
        self.asked = providers
        os.write(2, self.writes.encode())
        print("*************** EP Error ***************")
        if self.raises:
            raise RuntimeError(self.raises)
        session = RealSession(path, options, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: [self.runs_on, "CPUExecutionProvider"]
        session.disable_fallback = lambda: setattr(self, "fallback_disabled", True)
        if self.fails:
            session.run = self._fail
        return session

    def _fail(self, *_: Any) -> None:
        raise RuntimeError(self.fails)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pretending]:
    def install(**how: str) -> Pretending:
        pretending = Pretending(**how)
        names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(ort, "get_available_providers", lambda: names)
        monkeypatch.setattr(ort, "InferenceSession", pretending.open)
        return pretending

    return install


def test_a_gpu_that_answers_is_used(
    tmp_path: Path, pretend: Callable[..., Pretending], capfd: pytest.CaptureFixture[str]
) -> None:
    runtime = pretend(writes="[W:onnxruntime:Default, a.cc:1 F] logged and harmless\n")
    path = write_model(tmp_path / "m.onnx")
    with OnnxRuntimeBackend(path, device="cuda") as backend:
        assert backend.device == "cuda"
        (evidence,) = backend.infer(np.full((1, 4, 4, 3), 138, np.uint8))
    assert evidence.logit == 10.0
    assert [name for name, _ in runtime.asked] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert runtime.fallback_disabled
    out, err = capfd.readouterr()
    assert out == ""
    assert "logged and harmless" in err


@pytest.mark.parametrize(
    ("device", "how", "words"),
    [
        (
            "cuda",
            {"runs_on": "CPUExecutionProvider", "writes": LOST},
            r"--device cuda, found .* CPUExecution.*libcudnn\.so\.9",
        ),
        ("tensorrt", {}, r"would use CUDAExecutionProvider instead\. Install"),
        ("tensorrt", {"raises": "Please install", "writes": LOST}, r"tensorrt.*libcudnn\.so\.9"),
        ("tensorrt", {"raises": "Protobuf parsing failed."}, "Protobuf parsing failed"),
    ],
)
def test_a_provider_that_does_not_come_up_is_refused_with_the_reason(
    tmp_path: Path,
    pretend: Callable[..., Pretending],
    capfd: pytest.CaptureFixture[str],
    device: str,
    how: dict[str, str],
    words: str,
) -> None:
    pretend(**how)
    with pytest.raises(ModelError, match=words):
        OnnxRuntimeBackend(write_model(tmp_path / "m.onnx"), device=device)
    assert capfd.readouterr() == ("", "")


def test_the_gpus_own_failures_are_one_sentence(
    tmp_path: Path, pretend: Callable[..., Pretending]
) -> None:
    path = write_model(tmp_path / "m.onnx")
    pretend(raises="CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version")
    with pytest.raises(GpuError, match=r"a driver as new .* ONNX Runtime: CUDA failure 35"):
        OnnxRuntimeBackend(path, device="cuda")
    pretend(fails="CUDA failure 2: out of memory ; GPU=0")
    full = OnnxRuntimeBackend(path, device="cuda")
    with full, pytest.raises(GpuError, match="too little free memory"):
        full.warm_up(4, 4)
    pretend(fails="Unexpected input data type")
    other = OnnxRuntimeBackend(path, device="cuda")
    with other, pytest.raises(ModelError, match="Unexpected input data type"):
        other.warm_up(4, 4)


def test_engines_are_kept_where_it_is_asked_to(
    tmp_path: Path, pretend: Callable[..., Pretending]
) -> None:
    runtime = pretend(runs_on="TensorrtExecutionProvider")
    path = write_model(tmp_path / "m.onnx")
    with OnnxRuntimeBackend(path, device="tensorrt", engines=tmp_path):
        options = dict(runtime.asked)["TensorrtExecutionProvider"]
    assert options["trt_engine_cache_path"] == str(tmp_path)
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "True"


def test_stderr_may_be_closed() -> None:
    script = """
        import os
        os.close(2)
        from edge.backends.onnxruntime import _captured_stderr
        with _captured_stderr() as written:
            print("lost")
        print(bytes(written))
    """
    assert in_python(script).stdout == "b''\n"


def test_the_twin_of_int8_which_optimisers_break_runs_as_it_is_written() -> None:
    model = find_model("lite0-levels")
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    logits = []
    for name in ("int8", "int8.fp16"):
        path = variant(model, name)
        assert path is not None
        with OnnxRuntimeBackend(path) as backend:
            logits.append(backend.infer(frames)[0].logit)
    # Releases of ONNX Runtime differ by 1; one that is optimised by 6, with another sign.
    assert logits[0] == pytest.approx(logits[1], abs=2)
