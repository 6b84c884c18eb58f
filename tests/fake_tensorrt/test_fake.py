"""The fake refuses what the real one refuses, and gives what ONNX Runtime gives.

What a board does, and a fault or rule stands for here: pins that weak types ignore; a builder that
dies, on every network or on those of one kind; no memory to build, to load, or for a context;
memory that the GPU does not reach; another GPU, TensorRT, thread or context; an engine that no
graph can hold; operators, types, pads and scales that the parser refuses.

Not modelled: kernels of TensorRT's own, and so how far its sums, fusions and int8 are from ONNX
Runtime's; names of fused layers; which tactics need how much memory, or clocks their choice; types
that strong typing refuses between operators beyond those of `onnx_graph`; Resize's antialiasing
that 8 overlooks; libraries that are loaded at the first run; the system that ends another process
than the builder for want of memory; refitting, DLA, plugins.
"""

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
from edge.tensorrt.log_lines import Line, Problem, explain
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
        return explain([Line("ERROR", line) for line in self.lines], doing).kind


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


def bound(engine: Any, count: int = 1) -> tuple[Any, dict[str, Block]]:
    """A context and the memory that it is bound to."""
    context = engine.create_execution_context()
    assert context.set_input_shape("frames", (count, H, W, 3))
    blocks = {"frames": Block((count, H, W, 3), np.uint8)}
    for name in ("logit", "patch_logits"):
        blocks[name] = Block(tuple(context.get_tensor_shape(name)), np.float32)
    for name, block in blocks.items():
        assert context.set_tensor_address(name, block.address)
    return context, blocks


def run(engine: Any, frames: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Logits and patch logits, through addresses."""
    context, blocks = bound(engine, len(frames))
    blocks["frames"].array[:] = frames
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


def graph_of(*nodes: Any, **initializers: Any) -> bytes:
    """A model from `frames` to `logit`."""
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, H, W, 3])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, None)
    given = [onnx.numpy_helper.from_array(v, name) for name, v in initializers.items()]
    graph = helper.make_graph(list(nodes), "g", [frames], [logit], initializer=given)
    opset = [helper.make_opsetid("", 18)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model


def test_what_the_parser_refuses_is_told_without_raising(bench: Bench) -> None:
    assert "MODEL_DESERIALIZE_FAILED" in bench.refusal(b"not onnx at all")
    implicit = bench.trt.OnnxParser(bench.network(), bench.logger)
    assert implicit.parse(quantised(0)) is (bench.major >= 10), "8 needs explicit batches"
    data = graph_of(helper.make_node("DynamicQuantizeLinear", ["frames"], ["a", "b", "c"]))
    assert "Plugin not found" in bench.refusal(data)
    bench.lines.clear()
    data = graph_of(
        helper.make_node("Transpose", ["frames"], ["t"], perm=[0, 3, 1, 2], name="early"),
        helper.make_node("Cast", ["t"], ["logit"], to=TensorProto.FLOAT),
    )
    error = bench.refusal(data)
    assert "UINT8 types for intermediate tensors" in error
    assert ("with name: early and operator: Transpose" in error) is (bench.major >= 10)
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


@pytest.mark.parametrize(
    ("operator", "attributes", "inputs", "refusing"),
    [
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, (), {8, 10, 11}),
        ("AveragePool", {"kernel_shape": [2, 2]}, (), set()),
        ("Resize", {"coordinate_transformation_mode": "tf_crop_and_resize"}, (), {8, 10, 11}),
        ("Resize", {"mode": "linear", "antialias": 1}, (), {10, 11}),
        ("Resize", {"coordinate_transformation_mode": "asymmetric"}, (), set()),
        ("Pad", {}, ("pads", "zero", "axes"), {8}),
        ("Pad", {}, ("pads",), set()),
        ("Shape", {}, None, {8, 10, 11}),
        ("QuantizeLinear", {}, ("negative", "point"), {8, 10, 11}),
    ],
)
def test_what_an_operator_may_not_be_given(
    bench: Bench, operator: str, attributes: Any, inputs: Any, refusing: set[int]
) -> None:
    given = ["frames"] if inputs is None else ["x", *inputs]
    if operator == "Resize":
        given += ["", "scales"]
    output = ["logit"] if operator != "Shape" else ["sizes"]
    parser = bench.trt.OnnxParser(bench.network("EXPLICIT_BATCH"), bench.logger)
    data = graph_of(
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node(operator, given, output, **attributes),
        pads=np.zeros(8, np.int64),
        zero=np.array(0, np.float32),
        axes=np.array([1], np.int64),
        scales=np.ones(4, np.float32),
        negative=np.array(-1.0, np.float32),
        point=np.array(0, np.int8),
    )
    assert parser.parse(data) is (bench.major not in refusing)


def quantised(point: int) -> bytes:
    return graph_of(
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["logit"]),
        scale=np.array(1.0, np.float32),
        point=np.array(point, np.int8),
    )


HALVES = graph_of(
    helper.make_node("Cast", ["frames"], ["h"], to=TensorProto.FLOAT16),
    helper.make_node("Cast", ["h"], ["logit"], to=TensorProto.FLOAT),
)


@pytest.mark.parametrize(("data", "flag"), [(HALVES, "FP16"), (quantised(0), "INT8")])
def test_what_the_file_holds_needs_the_flag_or_strong_types(
    bench: Bench, data: bytes, flag: str
) -> None:
    def builds(*flags: str, network: str = "EXPLICIT_BATCH") -> bool:
        parsed = bench.parsed(data, network)
        config = bench.config(1, *flags)
        return bench.builder.build_serialized_network(parsed, config) is not None

    assert builds() is (bench.major >= 11)
    if bench.major < 11:
        assert bench.why() is Problem.PRECISION
        assert builds(flag)
    if bench.major >= 10:
        assert builds(network="STRONGLY_TYPED")
    assert "Non-zero zero point is not supported" in bench.refusal(quantised(3))
    if bench.major == 10:
        network = bench.parsed(data, "STRONGLY_TYPED")
        network.get_layer(1).precision = bench.trt.DataType.FLOAT
        assert "usingStronglyTyped" in bench.lines[-1]
        assert bench.builder.build_serialized_network(network, bench.config(1, flag)) is None
        assert f"!config.getFlag(BuilderFlag::k{flag})" in bench.lines[-1]


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
    assert bench.builder_of(model).build_serialized_network(bench.net, bench.config()) is None
    assert bench.why() is Problem.OUT_OF_MEMORY
    bench.faults.build_fails = ""
    engine = bench.engine(model)
    bench.faults.logit_offset = 3.0
    logits, maps = run(engine, np.full((1, H, W, 3), 130, np.uint8))
    assert logits.tolist() == [5.0] and np.all(maps == 2.0)
    bench.faults.run_fails = "Error Code 1: Cuda Runtime (x)"
    assert not bound(engine)[0].execute_async_v3(0)
    assert bench.lines[-1].endswith("(x)")
    for fault, value, nothing, kind in (
        ("compute_capability", (8, 6), None, Problem.OTHER_GPU),
        ("library", "8.5.2.2", "", Problem.OTHER_VERSION),
        ("load_fails", "out of memory", "", Problem.OUT_OF_MEMORY),
    ):
        bench.lines.clear()
        setattr(bench.faults, fault, value)
        assert bench.engine(model) is None
        assert bench.why("load") is kind
        setattr(bench.faults, fault, nothing)
    bench.faults.cuda_error = 35
    with pytest.raises(TypeError, match="factory function returned nullptr"):
        bench.trt.Builder(bench.logger)


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
    script = """
import tensorrt as t
class Logger(t.ILogger):
    def __init__(self): t.ILogger.__init__(self)
    def log(self, severity, msg): print(msg)
print(t.__version__)
t.Builder(Logger())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | site_environment("8.6.1", Faults(cuda_error=100)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("8.6.1\n6: ")
    assert "CUDA initialization failure with error: 100" in done.stdout
    assert "TypeError: pybind11::init(): factory function returned nullptr" in done.stderr


def test_with_a_driver_work_waits_in_its_stream(
    model: bytes, refusing_gpu: SoftwareGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_left_alone", 0)
    with installed() as fake:
        bench = bench_of(fake)
        refusing_gpu.set(major=12, minor=1)
        plan = bench.plan(model)
        assert b'"compute_capability": [12, 1]' in plan and b"Orin (software)" in plan
        engine = fake.trt.Runtime(bench.logger).deserialize_cuda_engine(plan)
        context, _ = bound(engine)
        assert not context.execute_async_v3(7)  # no context is current
        assert "invalid resource handle" in bench.lines[-1]
        with open_cuda() as cuda:
            assert not context.execute_async_v3(cuda.stream)  # pageable memory
            assert "illegal memory access" in bench.lines[-1]
            frames = cuda.mirrored((1, H, W, 3), np.uint8, mapped=True)
            logit = cuda.mirrored((1,), np.float32, mapped=True)
            maps = cuda.mirrored((1, H, W), np.float32, mapped=True)
            for name, array in (("frames", frames), ("logit", logit), ("patch_logits", maps)):
                assert context.set_tensor_address(name, array.pointer)
            assert not context.execute_async_v3(13)  # a stream of somewhere else
            with pytest.raises(AssertionError):  # it must have run once before
                cuda.capture(lambda: check(context.execute_async_v3(cuda.stream)))
            assert context.execute_async_v3(cuda.stream)
            frames.array[:] = 138
            logit.array[:] = 0
            cuda.synchronize()
            assert logit.array[0] == 10
            graph = cuda.capture(lambda: check(context.execute_async_v3(cuda.stream)))
            frames.array[:] = 139
            graph.launch()
            cuda.synchronize()
            assert logit.array[0] == 11
            context.set_tensor_address("logit", maps.pointer)  # a graph outlives no change
            graph.launch()
            cuda.synchronize()
            assert np.isnan(logit.array[0])


def check(done: bool) -> None:
    assert done
