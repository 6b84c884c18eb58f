"""What is chosen where, with ONNX Runtime and OpenVINO themselves; their speed is made up."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.backends import BackendChoice, auto, open_backend
from edge.backends import openvino as ours
from edge.errors import UsageError
from edge.regions import parse_region
from tests.fakes import make_manifest
from tests.onnx_files import write_model

pytest.importorskip("openvino")
FRAMES = np.full((1, 9, 9, 3), 138, np.uint8)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATCHWATCH_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setattr(auto, "TIMING_S", 0.0)
    monkeypatch.setattr(auto, "LATEST_S", 60.0)
    monkeypatch.setattr(ours, "PROOF_S", 0.0)
    monkeypatch.setattr(ours, "half_of", lambda core, device: None)
    # A small region, as what is proven is at its size.
    return write_model(tmp_path / "m.onnx", make_manifest(region="center:64"))


def speed(monkeypatch: pytest.MonkeyPatch, onnxruntime: float, openvino: float) -> None:
    """Say how long a frame takes, in milliseconds."""
    times_ms = {"onnxruntime": onnxruntime, "openvino": openvino}
    monkeypatch.setattr(auto, "_once_ms", lambda backend, frame: times_ms[backend.name])


def chosen(model: Path, **settings: Any) -> str:
    with open_backend(model, choice=BackendChoice("auto", **settings)) as backend:
        assert backend.infer(FRAMES)[0].logit == 10
        return backend.name


def test_the_fastest_that_changes_no_verdict_is_timed_once_and_kept(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    speed(monkeypatch, onnxruntime=20, openvino=5)
    assert chosen(model) == "openvino"
    assert "the backend for this machine was chosen: openvino, fp" in caplog.text
    choice = auto.choose(model, BackendChoice("auto"))
    assert choice.onnxruntime_ms == 20
    half, full = sorted(choice.timed, key=lambda each: each.precision)
    assert full.precision == "fp32" or "half precision" in str(half.refused)

    def again(*_: object) -> auto.Choice:
        raise AssertionError("timed again")

    monkeypatch.setattr(auto, "_measured", again)
    assert chosen(model) == "openvino"
    with pytest.raises(AssertionError, match="timed again"):  # of another number of threads
        chosen(model, threads=1)
    other = write_model(model.with_name("o.onnx"), make_manifest(name="o", region="center:64"))
    with pytest.raises(AssertionError, match="timed again"):
        chosen(other)
    monkeypatch.setattr(auto, "_cpu", lambda: ("another",))
    with pytest.raises(AssertionError, match="timed again"):
        chosen(model)


def test_half_precision_is_not_timed_on_a_cpu_without_it(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed(monkeypatch, onnxruntime=20, openvino=5)
    half, full = auto.choose(model, BackendChoice("auto")).timed[::-1]
    assert (half.precision, half.ratio) == ("fp16", None)
    assert "this CPU does not compute in half precision" in str(half.refused)
    assert (full.precision, full.ratio) == ("fp32", 0.25)


def test_onnx_runtime_stays_where_nothing_is_faster(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed(monkeypatch, onnxruntime=20, openvino=19.5)
    assert chosen(model) == "onnxruntime"
    assert "nothing is faster" in auto.choose(model, BackendChoice("auto")).reason


def test_half_precision_that_moves_verdicts_is_not_chosen(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed(monkeypatch, onnxruntime=20, openvino=5)
    monkeypatch.setattr(ours, "half_of", lambda core, device: "bf16")
    assert auto.choose(model, BackendChoice("auto")).precision in ("fp16", "fp32")
    monkeypatch.setattr(ours, "keeps_verdicts", lambda proof: False)
    choice = auto.choose(model, BackendChoice("auto", threads=1, precision="fp16"))
    assert choice.backend == "onnxruntime" and "which changes verdicts" in choice.reason


def test_a_busy_moment_decides_nothing_for_later(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed(monkeypatch, onnxruntime=20, openvino=5)
    with monkeypatch.context() as busy:
        busy.setattr(auto, "LATEST_S", 0.0)
        assert auto.LATE in auto.choose(model, BackendChoice("auto")).reason
    assert chosen(model) == "openvino"


def test_without_openvino_or_for_a_quick_model_onnx_runtime_runs_it(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "QUICK_MS", 1e6)
    assert "needs nothing faster" in auto.choose(model, BackendChoice("auto")).reason
    fixed = write_model(model.with_name("f.onnx"), fixed_hw=(9, 9))
    assert "one size only" in auto.choose(fixed, BackendChoice("auto")).reason
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    assert "not installed" in auto.choose(model, BackendChoice("auto")).reason
    assert chosen(model) == "onnxruntime"


def test_one_that_no_longer_opens_is_replaced(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    speed(monkeypatch, onnxruntime=20, openvino=5)
    assert chosen(model) == "openvino"

    def gone(*_: object) -> None:
        raise UsageError("no longer.")

    monkeypatch.setattr(ours, "open_model", gone)
    assert chosen(model) == "onnxruntime"
    assert "using ONNX Runtime, as OpenVINO was chosen and does not open: no longer." in caplog.text


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [
        ("cuda", None, "onnxruntime-gpu"),
        ("gpu", None, "OpenVINO finds no GPU here"),
        ("cpu", "int8", "no int8 variant beside it"),
    ],
)
def test_a_device_or_a_precision_of_one_backend_chooses_it(
    model: Path, device: str, precision: Any, words: str
) -> None:
    with pytest.raises(Exception, match=words):
        chosen(model, device=device, precision=precision)


def test_what_is_too_large_to_be_timed_is_not(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> float:
        raise AssertionError("it was timed")

    monkeypatch.setattr(auto, "_once_ms", never)
    choice = auto.choose(model, BackendChoice("auto", region=parse_region("resize:9999")))
    assert choice.backend == "onnxruntime" and "too many to be timed" in choice.reason
