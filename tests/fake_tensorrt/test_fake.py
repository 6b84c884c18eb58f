"""The fake refuses what the real one refuses, and gives what ONNX Runtime gives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.backends import open_backend
from edge.cuda import open_cuda
from edge.tensorrt.log_lines import Problem, explain
from tests.fake_tensorrt import (
    VERSIONS,
    Faults,
    Installed,
    driver,
    installed,
    site_environment,
)
from tests.fake_tensorrt.memory import Block
from tests.onnx_files import write_model
from tests.software_cuda import SoftwareGpu
from tests.software_cuda.fixtures import refusing_gpu as refusing_gpu
from tests.software_cuda.fixtures import software_cuda as software_cuda
from tests.software_cuda.fixtures import software_gpu as software_gpu

H, W = 4, 6


@dataclass
class Bench:
    """A version in place, and what it logged."""

    trt: Any
    faults: Faults
    lines: list[str] = field(default_factory=list)
    logger: Any = None

    @property
    def major(self) -> int:
        return int(self.trt.__version__.split(".")[0])

    def network(self, *names: str) -> Any:
        """An empty one, with these flags where the version has them."""
        flags = self.trt.NetworkDefinitionCreationFlag
        members = [getattr(flags, name) for name in names if hasattr(flags, name)]
        self.builder = self.trt.Builder(self.logger)
        return self.builder.create_network(sum(1 << int(member) for member in members))

    def parsed(self, data: bytes, *names: str) -> Any:
        network = self.network(*(names or ("EXPLICIT_BATCH",)))
        parser = self.trt.OnnxParser(network, self.logger)
        assert parser.parse(data), [str(parser.get_error(i)) for i in range(parser.num_errors)]
        return network

    def refusal(self, data: bytes) -> str:
        """The one error of a file that the parser refuses."""
        parser = self.trt.OnnxParser(self.network("EXPLICIT_BATCH"), self.logger)
        assert not parser.parse(data)
        assert parser.num_errors == 1
        return str(parser.get_error(0))

    def config(self, most: int = 2, *names: str) -> Any:
        config = self.builder.create_builder_config()
        for name in names:
            config.set_flag(getattr(self.trt.BuilderFlag, name))
        profile = self.builder.create_optimization_profile()
        profile.set_shape("frames", (1, H, W, 3), (1, H, W, 3), (most, H, W, 3))
        assert config.add_optimization_profile(profile) == 0
        return config

    def plan(self, data: bytes) -> bytes:
        return bytes(self.builder_of(data).build_serialized_network(self.net, self.config()))

    def builder_of(self, data: bytes) -> Any:
        self.net = self.parsed(data)
        return self.builder

    def engine(self, data: bytes) -> Any:
        return self.trt.Runtime(self.logger).deserialize_cuda_engine(self.plan(data))

    def why(self, doing: Any = "build") -> Problem:
        return explain(self.lines, doing).kind


def bench_of(fake: Installed) -> Bench:
    bench = Bench(fake.trt, fake.faults)

    base: Any = fake.trt.ILogger

    class Logger(base):  # type: ignore[misc]  # has no type
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (self.ERROR, self.WARNING):
                bench.lines.append(msg)

    bench.logger = Logger()
    return bench


@pytest.fixture(autouse=True)
def no_driver() -> Iterator[None]:
    with driver.left_alone():
        yield


@pytest.fixture(params=VERSIONS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with installed(request.param) as fake:
        yield bench_of(fake)


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return write_model(tmp_path / "m.onnx").read_bytes()


def run(engine: Any, frames: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Logits and patch logits, through addresses."""
    context = engine.create_execution_context()
    assert context.set_input_shape("frames", frames.shape)
    blocks = {"frames": Block(frames.shape, np.uint8)}
    blocks["frames"].array[:] = frames
    for name in ("logit", "patch_logits"):
        blocks[name] = Block(tuple(context.get_tensor_shape(name)), np.float32)
    for name, block in blocks.items():
        assert context.set_tensor_address(name, block.address)
    assert context.execute_async_v3(0)
    return blocks["logit"].array, blocks["patch_logits"].array


def test_gives_what_onnx_runtime_gives(bench: Bench, model: bytes, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, H, W, 3), np.uint8)
    logits, maps = run(bench.engine(model), frames)
    with open_backend(tmp_path / "m.onnx") as backend:
        wanted = backend.infer(frames)
    assert [item.logit for item in wanted] == logits.tolist()
    wanted_maps: Any = [item.patch_logits for item in wanted]
    assert np.array_equal(wanted_maps, maps)


def test_without_explicit_batch_only_8_refuses(bench: Bench, model: bytes) -> None:
    network = bench.network()
    parser = bench.trt.OnnxParser(network, bench.logger)
    assert parser.parse(model) is (bench.major >= 10)
    if bench.major < 10:
        assert "explicit batch dimension" in str(parser.get_error(0))


def test_a_file_that_is_no_onnx_is_refused_without_raising(bench: Bench) -> None:
    assert "MODEL_DESERIALIZE_FAILED" in bench.refusal(b"not onnx at all")


def graph_of(*nodes: Any, **initializers: Any) -> bytes:
    """A model from `frames` to `logit`."""
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, H, W, 3])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, None)
    given = [onnx.numpy_helper.from_array(v, name) for name, v in initializers.items()]
    graph = helper.make_graph(list(nodes), "g", [frames], [logit], initializer=given)
    opset = [helper.make_opsetid("", 18)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model


def test_bytes_must_be_cast_first(bench: Bench) -> None:
    data = graph_of(
        helper.make_node("Transpose", ["frames"], ["t"], perm=[0, 3, 1, 2], name="early"),
        helper.make_node("Cast", ["t"], ["logit"], to=TensorProto.FLOAT),
    )
    error = bench.refusal(data)
    assert "UINT8 types for intermediate tensors" in error
    assert ("with name: early and operator: Transpose" in error) is (bench.major >= 10)
    assert bench.why() is Problem.UNSUPPORTED_OPERATOR


def test_an_unknown_operator_is_named(bench: Bench) -> None:
    data = graph_of(helper.make_node("DynamicQuantizeLinear", ["frames"], ["a", "b", "c"]))
    assert "Plugin not found" in bench.refusal(data)
    assert bench.why() is Problem.UNSUPPORTED_OPERATOR


def test_8_reduces_every_axis_where_they_are_an_input(bench: Bench) -> None:
    data = graph_of(
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["logit"], keepdims=1),
        axes=np.array([1], np.int64),
    )
    plan = bench.builder_of(data).build_serialized_network(bench.net, bench.config(1))
    engine = bench.trt.Runtime(bench.logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    found = tuple(context.get_tensor_shape("logit"))
    assert found == ((1, 1, 1, 1) if bench.major < 10 else (1, 1, W, 3))


HALVES = (
    helper.make_node("Cast", ["frames"], ["h"], to=TensorProto.FLOAT16),
    helper.make_node("Cast", ["h"], ["logit"], to=TensorProto.FLOAT),
)


def test_half_in_the_file_needs_the_flag_or_strong_types(bench: Bench) -> None:
    data = graph_of(*HALVES)
    network = bench.parsed(data)
    plan = bench.builder.build_serialized_network(network, bench.config(1))
    assert (plan is None) is (bench.major < 11)
    if plan is None:
        assert bench.why() is Problem.PRECISION
        network = bench.parsed(data)
        config = bench.config(1, "FP16")
        assert bench.builder.build_serialized_network(network, config) is not None
    if bench.major == 10:
        network = bench.parsed(data, "STRONGLY_TYPED")
        assert bench.builder.build_serialized_network(network, bench.config(1)) is not None


def quantised(point: int) -> bytes:
    return graph_of(
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["logit"]),
        scale=np.array(1.0, np.float32),
        point=np.array(point, np.int8),
    )


def test_scales_need_the_flag_and_no_offset(bench: Bench) -> None:
    network = bench.parsed(quantised(0))
    plan = bench.builder.build_serialized_network(network, bench.config(1))
    assert (plan is None) is (bench.major < 11)
    assert "Non-zero zero point is not supported" in bench.refusal(quantised(3))


def test_strong_types_and_precision_flags_exclude_each_other(model: bytes) -> None:
    with installed("10.3.0") as fake:
        bench = bench_of(fake)
        network = bench.parsed(model, "STRONGLY_TYPED")
        layer = network.get_layer(1)
        layer.precision = bench.trt.float32
        assert "usingStronglyTyped" in bench.lines[-1]
        assert bench.builder.build_serialized_network(network, bench.config(2, "FP16")) is None
        assert "!config.getFlag(BuilderFlag::kFP16)" in bench.lines[-1]


def test_profiles_are_checked(bench: Bench, model: bytes) -> None:
    network = bench.parsed(model)
    config = bench.builder.create_builder_config()
    assert bench.builder.build_serialized_network(network, config) is None
    assert "no optimization profile has been defined" in bench.lines[-1 if bench.major > 9 else -2]
    profile = bench.builder.create_optimization_profile()
    with pytest.raises(RuntimeError, match="Shape provided for opt is inconsistent"):
        profile.set_shape("frames", (2, H, W, 3), (1, H, W, 3), (2, H, W, 3))
    assert config.add_optimization_profile(profile) == -1
    profile = bench.builder.create_optimization_profile()
    profile.set_shape("frames", (1, H, W, 4), (1, H, W, 4), (1, H, W, 4))
    assert config.add_optimization_profile(profile) == 0
    assert bench.builder.build_serialized_network(network, config) is None
    assert bench.why() is Problem.SHAPE


def test_timings_go_from_build_to_build_on_one_machine(bench: Bench, model: bytes) -> None:
    network = bench.parsed(model)
    config = bench.config()
    assert config.get_timing_cache() is None
    assert config.create_timing_cache(b"rubbish") is None
    assert config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    assert bench.builder.build_serialized_network(network, config) is not None
    data = bytes(config.get_timing_cache().serialize())
    assert b"CAST" in data
    other = config.create_timing_cache(data.replace(b"Orin", b"Thor"))
    assert not config.set_timing_cache(other, False)
    assert config.set_timing_cache(other, True)


@pytest.mark.parametrize(
    ("corrupt", "kind"),
    [
        (lambda plan: plan[:-1], Problem.DAMAGED),
        (lambda plan: plan[:-1] + b"?", Problem.DAMAGED),
        (lambda plan: plan[:12], Problem.NOT_A_PLAN),
        (lambda plan: b"", Problem.NOT_A_PLAN),
        (lambda plan: b"{}  " + plan, Problem.NOT_A_PLAN),
        (lambda plan: plan[:8] + bytes([plan[8] ^ 1]) + plan[9:], Problem.OTHER_VERSION),
    ],
)
def test_a_corrupt_plan_is_refused(bench: Bench, model: bytes, corrupt: Any, kind: Problem) -> None:
    runtime = bench.trt.Runtime(bench.logger)
    assert runtime.deserialize_cuda_engine(corrupt(bench.plan(model))) is None
    assert bench.why("load") is kind


def test_a_plan_of_another_gpu_or_version_is_refused(bench: Bench, model: bytes) -> None:
    bench.faults.compute_capability = (8, 6)
    assert bench.engine(model) is None
    assert bench.why("load") is Problem.OTHER_GPU
    bench.lines.clear()
    bench.faults.compute_capability = None
    bench.faults.library = "8.5.2.2"
    assert bench.engine(model) is None
    assert bench.why("load") is Problem.OTHER_VERSION


def test_a_context_refuses_what_is_not_ready(bench: Bench, model: bytes) -> None:
    context = bench.engine(model).create_execution_context()
    assert context.get_tensor_shape("logit") == (-1,)
    assert not context.execute_async_v3(0)
    assert "Not all shapes are specified" in bench.lines[-1]
    assert not context.set_input_shape("frames", (3, H, W, 3))
    assert "does not satisfy any optimization profiles" in bench.lines[-1]
    assert context.set_input_shape("frames", (2, H, W, 3))
    assert context.get_tensor_shape("patch_logits") == (2, H, W)
    assert not context.execute_async_v3(0)
    assert "Address is not set for input tensor frames" in bench.lines[-1]
    assert not context.set_tensor_address("frames", Block((1,), np.uint8).address + 1)
    assert not context.set_tensor_address("absent", 0)


def test_faults_are_reported_as_the_real_one_tells_them(bench: Bench, model: bytes) -> None:
    bench.faults.build_fails = "[resize] Error Code 2: OutOfMemory (no further information)"
    network = bench.parsed(model)
    assert bench.builder.build_serialized_network(network, bench.config()) is None
    assert bench.why() is Problem.OUT_OF_MEMORY
    bench.faults.build_fails = ""
    engine = bench.engine(model)
    bench.faults.logit_offset = 3.0
    logits, maps = run(engine, np.full((1, H, W, 3), 130, np.uint8))
    assert logits.tolist() == [5.0]
    assert np.all(maps == 2.0)
    bench.faults.logit_offset, bench.faults.run_fails = 0.0, "Error Code 1: Cuda Runtime (x)"
    context = engine.create_execution_context()
    context.set_input_shape("frames", (1, H, W, 3))
    for name in ("frames", "logit", "patch_logits"):
        context.set_tensor_address(name, 256)
    assert not context.execute_async_v3(0)
    assert bench.lines[-1].endswith("(x)")
    bench.faults.load_fails = "some line"
    assert bench.trt.Runtime(bench.logger).deserialize_cuda_engine(b"") is None
    bench.faults.cuda_error = 35
    with pytest.raises(TypeError, match="factory function returned nullptr"):
        bench.trt.Builder(bench.logger)
    bench.lines = bench.lines[-1:]
    assert bench.why() is Problem.NO_GPU


def test_nothing_is_left_behind() -> None:
    before = set(sys.modules)
    with installed():
        import edge.tensorrt.engine

        assert edge.tensorrt.engine.version() == "10.3.0"
    assert "tensorrt" not in sys.modules
    assert "edge.tensorrt.engine" not in set(sys.modules) - before
    with installed("8.6.1"):
        import edge.tensorrt.engine as again

        assert again.version() == "8.6.1"


def test_a_process_of_its_own_finds_it(tmp_path: Path) -> None:
    script = "import tensorrt as t; print(t.__version__); t.Builder(t.Logger())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | site_environment("8.6.1", Faults(cuda_error=100)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "8.6.1\n"
    assert "[TRT] [E] 6: " in done.stderr
    assert "CUDA initialization failure with error: 100" in done.stderr
    assert "TypeError: pybind11::init(): factory function returned nullptr" in done.stderr


def test_with_a_driver_work_waits_in_its_stream(
    model: bytes, refusing_gpu: SoftwareGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_left_alone", 0)
    blocks = {
        "frames": Block((1, H, W, 3), np.uint8),
        "logit": Block((1,), np.float32),
        "patch_logits": Block((1, H, W), np.float32),
    }
    with installed() as fake:
        bench = bench_of(fake)
        refusing_gpu.set(major=12, minor=1)
        plan = bench.plan(model)
        assert b'"compute_capability": [12, 1]' in plan and b"Orin (software)" in plan
        engine = fake.trt.Runtime(bench.logger).deserialize_cuda_engine(plan)
        context = engine.create_execution_context()
        context.set_input_shape("frames", (1, H, W, 3))
        for name, block in blocks.items():
            context.set_tensor_address(name, block.address)
        assert not context.execute_async_v3(7)  # no context is current
        assert "invalid resource handle" in bench.lines[-1]
        with open_cuda() as cuda:
            assert not context.execute_async_v3(13)  # a stream of somewhere else
            assert context.execute_async_v3(cuda.stream)
            blocks["frames"].array[:] = 138
            assert blocks["logit"].array[0] == 0
            cuda.synchronize()
            assert blocks["logit"].array[0] == 10
