"""The whole way from a model file to a proven engine, in the process that really does it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.errors import EngineError, GpuError
from edge.files import sha256_of
from edge.manifest import Precision
from edge.tensorrt.record import EngineKey, Shape, Sidecar
from edge.tensorrt.store import EngineRequest
from edge.weights import find_model, variant
from export.engine.process import LOGS, BuildError, build_engine
from tests.edge.tensorrt.made import make_machine
from tests.fake_tensorrt import VERSIONS, Faults, site_environment
from tests.onnx_files import write_model
from tests.software_cuda import environment
from tests.software_cuda.fixtures import software_cuda as software_cuda

SHAPE = Shape(batch=1, height=64, width=96)
Set = Callable[..., None]


@pytest.fixture
def machine_has(software_cuda: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """Says which TensorRT and which GPU the builder's process finds."""

    def set_it(version: str = "10.3.0", faults: Faults | None = None, **properties: object) -> None:
        found = site_environment(version, faults) | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        for name, value in (environment(software_cuda, **properties) | found).items():
            if os.environ.get(name) != value:
                monkeypatch.setenv(name, value)

    return set_it


def request(
    model: Path, precision: Precision = "fp32", shape: Shape = SHAPE, **more: Any
) -> EngineRequest:
    own = variant(model, precision)
    key = EngineKey(
        machine=make_machine(),
        precision=precision,
        shape=shape,
        onnx_sha256=sha256_of(model),
        variant_sha256=sha256_of(own) if own else None,
    )
    return EngineRequest(model, key, model.parent, **more)


def build(wanted: EngineRequest) -> tuple[bytes, Sidecar, list[str]]:
    told: list[str] = []
    plan, sidecar = build_engine(wanted, told.append)
    return plan, sidecar, told


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("version", VERSIONS)
def test_builds_proves_and_records(version: str, machine_has: Set, model: Path) -> None:
    machine_has(version)
    plan, sidecar, told = build(request(model))
    assert sidecar.engine_bytes == len(plan)
    assert sidecar.key == request(model).key
    assert sidecar.proof.frames == 16
    assert sidecar.proof.logit_scaled < 1e-4 and sidecar.proof.agreement == 1
    assert sidecar.build.route == "float32" and sidecar.build.source == "m.onnx"
    assert ("EXPLICIT_BATCH" in sidecar.build.network_flags) is (version != "11.4.0")
    assert any("comparing with ONNX Runtime" in text for text in told)
    (timings,) = model.parent.glob("timings-*.cache")
    assert "Orin" in timings.name and "sm87" in timings.name


def test_memory_that_cuda_does_not_report_is_counted_where_it_is_shared(
    machine_has: Set, model: Path
) -> None:
    machine_has(hidden_bytes=1 << 30)
    assert build(request(model))[1].build.workspace_bytes > 64 << 20
    machine_has(hidden_bytes=1 << 30, integrated=0)
    assert build(request(model))[1].build.workspace_bytes == 64 << 20


def test_full_batches_are_proven_beside_single_frames(machine_has: Set, model: Path) -> None:
    machine_has()
    _, sidecar, _ = build(request(model, shape=Shape(batch=8, height=32, width=40)))
    assert sidecar.proof.frames == 16


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_shipped_model_passes_in_every_precision(
    version: str, precision: Precision, machine_has: Set, tmp_path: Path
) -> None:
    machine_has(version)
    wanted = request(find_model("lite0-levels"), precision, Shape(batch=1, height=128, width=128))
    _, sidecar, _ = build(EngineRequest(wanted.model, wanted.key, tmp_path))
    assert sidecar.proof.ok
    twin = precision == "int8" and version != "8.6.1"
    own = "" if precision == "fp32" else ".int8.fp16" if twin else f".{precision}"
    assert sidecar.build.source == f"lite0-levels{own}.onnx"
    assert sidecar.build.refused == ()
    if twin:
        assert {sidecar.build.layers[name] for name in HALF_IN_THE_TWIN} == {"Half"}


def test_the_loss_on_labelled_pictures_is_measured_by_the_engine(
    machine_has: Set, model: Path, tmp_path: Path
) -> None:
    machine_has()
    for name, level in (("0_real/camera", 20), ("1_fake/generator", 200)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(3):
            picture = np.full((70, 100, 3), level + index, np.uint8)
            cv2.imwrite(str(tmp_path / "data" / name / f"{index}.png"), picture)
    _, sidecar, told = build(request(model, labelled=tmp_path / "data"))
    loss = sidecar.proof.loss
    assert loss is not None
    assert (loss.reference_auc, loss.engine_auc, loss.pictures) == (1, 1, 6)
    assert "labelled pictures, 6 of 6" in told


def test_what_differs_is_not_installed_and_the_figures_are_told(
    machine_has: Set, model: Path
) -> None:
    machine_has(faults=Faults(logit_offset=0.5))
    with pytest.raises(EngineError, match=r"differs from the model file by 0\.5 in a logit") as e:
        build(request(model))
    assert "not installed" in str(e.value) and "verdicts agree" in str(e.value)


HALF_IN_THE_TWIN = ("/trunk/stem/stem.0/Conv", "/trunk/blocks.2/Add")
LITE = Shape(batch=1, height=64, width=64)


def built_half(folder: Path) -> Sidecar:
    wanted = request(find_model("lite0-levels"), "fp16", LITE)
    return build(EngineRequest(wanted.model, wanted.key, folder))[1]


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        (
            Faults(build_fails_typed="Error Code 10: Could not find any implementation"),
            "half by typ",
        ),
        (
            Faults(build_dies="typed", build_signal=signal.SIGSEGV),
            r"half by type: TensorRT's builder crashed \(SIGSEGV\)\.",
        ),
    ],
)
def test_the_next_way_is_tried_where_one_fails_or_crashes(
    machine_has: Set, tmp_path: Path, faults: Faults, why: str
) -> None:
    machine_has(faults=faults)
    sidecar = built_half(tmp_path)
    assert sidecar.build.route == "half by flag"
    (refused,) = sidecar.build.refused
    assert re.match(why, refused)
    if faults.build_fails_typed:
        (log,) = (tmp_path / LOGS).glob("*-1.log")
        assert faults.build_fails_typed in log.read_text() and str(log) in refused


def test_strong_types_are_taken_first_as_pins_may_be_ignored(
    machine_has: Set, tmp_path: Path
) -> None:
    machine_has(faults=Faults(ignores_pins=True))
    sidecar = built_half(tmp_path)
    assert (sidecar.build.route, sidecar.build.refused) == ("half by type", ())
    layers = sidecar.build.layers
    assert layers["/pixels/Sub"] == "Float" and "Half" in layers.values()
    machine_has("8.6.1", Faults(ignores_pins=True))
    with pytest.raises(EngineError, match=r"differs from the model file by 1 in a logit"):
        built_half(tmp_path)


def test_a_crash_says_why_and_its_log_is_kept(machine_has: Set, model: Path) -> None:
    line = "Error Code 2: OutOfMemory (Requested size was 9 bytes.)"
    machine_has(faults=Faults(build_fails=line))
    with pytest.raises(BuildError, match=r"too little free memory.* Its log: (.*)\.$") as caught:
        build(request(model))
    (log,) = (model.parent / LOGS).iterdir()
    assert str(log) in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.log == log.read_text() == f"ERROR: {line}\n"
    machine_has(faults=Faults(build_dies="any"))
    with pytest.raises(EngineError, match=r"ended by SIGKILL.*want of memory.*--workspace"):
        build(request(model))


def test_no_gpu_is_a_sentence(machine_has: Set, model: Path) -> None:
    machine_has(devices=0)
    with pytest.raises(GpuError, match="driver finds none") as caught:
        build(request(model))
    assert isinstance(caught.value.__cause__, BuildError)


def test_without_tensorrt_it_says_where_it_comes_from(
    software_cuda: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(software_cuda.parent))
    with pytest.raises(EngineError, match=r"TensorRT .* is needed to build or run an engine"):
        build(request(model))


def test_an_interrupted_build_leaves_no_process_and_no_file(
    machine_has: Set, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_has(faults=Faults(build_seconds=60))
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def popen(*args: Any, **more: Any) -> Any:
        started.append(real(*args, **more))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    began = time.monotonic()

    def interrupt(text: str) -> None:
        if time.monotonic() - began > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(request(model), interrupt)
    assert started[0].returncode is not None
    assert not list(model.parent.glob("*.engine"))


def test_a_timing_cache_that_cannot_be_kept_costs_nothing(machine_has: Set, model: Path) -> None:
    machine_has()
    wanted = request(model)
    nowhere = EngineRequest(wanted.model, wanted.key, model / "no" / "folder")
    assert build(nowhere)[1].proof.ok


def test_an_order_for_frames_too_small_for_the_model_is_a_sentence(
    machine_has: Set, tmp_path: Path
) -> None:
    machine_has()
    wanted = request(find_model("tiny-ladeda"), "fp32", Shape(batch=1, height=2, width=2))
    with pytest.raises(EngineError) as caught:
        build(EngineRequest(wanted.model, wanted.key, tmp_path))
    assert "\n" not in str(caught.value)


def test_frames_of_the_proof_differ_in_their_verdicts() -> None:
    """Else an engine that always says the same would agree."""
    from edge.backends.onnxruntime import OnnxRuntimeBackend
    from edge.proof import proof_frames

    with OnnxRuntimeBackend(find_model("lite0-levels")) as backend:
        logits = [e.logit for f in proof_frames(256, 256) for e in backend.infer(f[None])]
    assert np.std(logits) > 0.3
