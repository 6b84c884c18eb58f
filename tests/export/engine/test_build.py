"""The builder against a TensorRT of each version that refuses what the real one refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.errors import EngineError
from edge.manifest import Precision
from edge.tensorrt.record import Shape
from edge.weights import find_model, variant
from tests.fake_tensorrt import VERSIONS, Installed, installed
from tests.onnx_files import write_model

SHAPE = Shape(batch=1, height=64, width=96)


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[Installed]:
    with installed(request.param) as fake:
        yield fake


def build(model: Path, precision: Precision = "fp32", shape: Shape = SHAPE, **more: Any) -> Any:
    import tensorrt

    from export.engine import build as module
    from export.engine.plan import plans, read_capabilities

    capabilities = read_capabilities(tensorrt)
    plan = plans(capabilities, model, precision)[0]
    return module.build(plan, capabilities, shape, 1 << 28, **more)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx")


def test_every_version_builds_the_shipped_models_in_every_precision(fake: Installed) -> None:
    for name in ("tiny-ladeda", "lite0-levels"):
        path = find_model(name)
        for precision in ("fp32", "fp16", "int8"):
            if precision == "fp32" or variant(path, precision):
                built = build(path, precision)
                assert len(built.plan) > 1000


def test_differences_of_grey_levels_are_held_to_float_where_types_are_chosen() -> None:
    with installed("8.6.1"):
        built = build(find_model("tiny-ladeda"), "fp16")
        assert {"/pixels/Sub", "/pixels/Conv", "/head/Conv"} <= set(built.pinned)
        assert not [name for name in built.pinned if name.startswith("/trunk/")]
    with installed("11.4.0"):
        assert build(find_model("tiny-ladeda"), "fp32").pinned == ()


def test_what_it_learned_of_kernels_is_given_and_taken(fake: Installed, model: Path) -> None:
    first = build(model)
    assert first.timing_cache
    assert build(model, timing_cache=first.timing_cache).timing_cache
    assert build(model, timing_cache=b"of another machine").timing_cache


def test_a_build_tells_what_it_is_at_where_the_version_can() -> None:
    for version, tells in (("8.6.1", False), ("10.3.0", True), ("11.4.0", True)):
        told: list[str] = []
        with installed(version):
            build(find_model("tiny-ladeda"), tell=told.append)
        assert bool(told) is tells


def test_none_becomes_an_error_with_tensorrts_own_words(fake: Installed, model: Path) -> None:
    fake.faults.build_fails = "Error Code 2: OutOfMemory (Requested size was 123 bytes.)"
    with pytest.raises(EngineError, match=r"too little free memory.*Requested size was 123") as e:
        build(model)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, r"m\.onnx: no engine \(float32\)"),
        ({"input_name": "images"}, "expected one input, frames"),
        ({"fixed_hw": (32, 32)}, "no engine"),
    ],
)
def test_what_is_no_model_of_ours_is_refused(
    fake: Installed, tmp_path: Path, changes: dict[str, Any] | None, message: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model")
    if changes is not None:
        write_model(path, **changes)
    with pytest.raises(EngineError, match=message):
        build(path)


def test_without_a_gpu_it_says_so(fake: Installed, model: Path) -> None:
    fake.faults.cuda_error = 100
    with pytest.raises(EngineError, match="expected a GPU that CUDA can use"):
        build(model)
