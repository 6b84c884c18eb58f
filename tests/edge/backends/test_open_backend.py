from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge.backends import BACKENDS, BackendChoice, BackendEntry, open_backend
from edge.backends.base import Backend
from edge.backends.onnxruntime import _engines_folder
from edge.errors import EngineError, MissingDependency, UsageError
from edge.manifest import Precision
from tests.fake_tensorrt import installed
from tests.fakes import FakeBackend, make_manifest
from tests.onnx_files import write_model
from tests.software_cuda import SoftwareGpu
from tests.software_cuda.fixtures import refusing_gpu as refusing_gpu
from tests.software_cuda.fixtures import software_cuda as software_cuda
from tests.software_cuda.fixtures import software_gpu as software_gpu


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx")


def test_without_tensorrt_it_says_where_it_comes_from(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.delitem(sys.modules, "edge.backends.tensorrt", raising=False)
    monkeypatch.delitem(sys.modules, "edge.tensorrt.engine", raising=False)
    with pytest.raises(MissingDependency, match="apt install python3-libnvinfer") as caught:
        open_backend(model, choice=BackendChoice("tensorrt"))
    assert "\n" not in str(caught.value)


def test_a_device_of_onnx_runtime_does_not_go_with_engines(model: Path) -> None:
    with pytest.raises(
        UsageError, match="cuda does not go with the backend tensorrt, which takes cpu"
    ):
        open_backend(model, choice=BackendChoice("tensorrt", device="cuda"))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_on_a_cpu_onnx_runtime_offers_nothing_slower_than_float32(
    model: Path, precision: Precision
) -> None:
    write_model(model.with_name(f"m.{precision}.onnx"), make_manifest(precision=precision))
    with pytest.raises(UsageError, match=rf"--precision {precision}: on a CPU ONNX Runtime takes"):
        open_backend(model, choice=BackendChoice(precision=precision))


def open_fake(path: Path, choice: BackendChoice) -> Backend:
    backend = FakeBackend()
    backend.name = f"{choice.name} on {choice.device} of {path.name}"
    return backend


def test_a_backend_is_a_line_in_the_table(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "other", BackendEntry(f"{__name__}:open_fake", ("cpu", "npu")))
    with open_backend(model, choice=BackendChoice("other", device="npu")) as backend:
        assert backend.name == "other on npu of m.onnx"


def test_an_engine_that_is_not_there_or_is_none_is_a_sentence(tmp_path: Path, model: Path) -> None:
    with installed("10.3.0"):
        with pytest.raises(EngineError, match=r"is missing; an engine is the file and its \.json"):
            open_backend(tmp_path / "none.engine")
        renamed = tmp_path / "renamed.engine"
        renamed.write_bytes(model.read_bytes())
        with pytest.raises(EngineError, match=r"looks like an ONNX model.*--backend tensorrt"):
            open_backend(renamed)


def test_engines_of_a_provider_are_kept_by_machine_precision_and_model(
    model: Path,
    refusing_gpu: SoftwareGpu,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pycuda")
    monkeypatch.setenv("PATCHWATCH_ENGINES", str(model.parent / "engines"))
    folder = _engines_folder(model, "fp32")
    assert folder is not None and folder.is_dir() and folder == _engines_folder(model, "fp32")
    other_model = write_model(model.with_name("o.onnx"), make_manifest(name="other"))
    folders = {folder, _engines_folder(model, "fp16"), _engines_folder(other_model, "fp32")}
    refusing_gpu.set(major=11, minor=0)
    folders.add(_engines_folder(model, "fp32"))
    assert len(folders) == 4
    monkeypatch.setenv("PATCHWATCH_ENGINES", str(model))
    assert _engines_folder(model, "fp32") is None
    assert "engines cannot be kept in" in caplog.text
    refusing_gpu.set(devices=0)
    assert _engines_folder(model, "fp32") is None
    assert "built at every start" in caplog.text
