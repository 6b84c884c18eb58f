"""From a plan to evidence: runtime, engine, execution context."""

from __future__ import annotations

import ctypes
import functools
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from tests.fake_tensorrt import driver
from tests.fake_tensorrt.base import (
    Dims,
    Spans,
    Strict,
    as_int,
    expect,
    invalid_dims,
    make,
    text_of,
)
from tests.fake_tensorrt.building import host_memory, refuse_without_cuda
from tests.fake_tensorrt.loggers import ILogger
from tests.fake_tensorrt.plan import Plan, Shape, Unreadable, read_plan, write_plan

_ALIGNMENT = 256
_DESERIALIZE = "IRuntime::deserializeCudaEngine"
_ENQUEUE = "IExecutionContext::enqueueV3"
_NUMPY: dict[str, npt.DTypeLike] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
}

Array = npt.NDArray[Any]


class Runtime(Strict):
    """Reads plans."""

    def __init__(self, logger: Any) -> None:
        expect(logger, ILogger, "__init__")
        self._api._log.register(self, logger, "createInferRuntime")
        refuse_without_cuda(self._api, "createInferRuntime")
        self._logger = logger
        self._host_code = False

    @property
    def logger(self) -> Any:
        """Its logger."""
        return self._logger

    @property
    def engine_host_code_allowed(self) -> bool:
        """Whether a plan may bring code for the CPU, as a version compatible one does."""
        return self._host_code

    @engine_host_code_allowed.setter
    def engine_host_code_allowed(self, allowed: bool) -> None:
        self._host_code = bool(allowed)

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        """An engine; None if the plan is refused, and the logger is told why."""
        data = bytes(memoryview(serialized_engine))
        log = self._api._log
        if self._api._faults.load_fails:
            log.say("ERROR", self._api._faults.load_fails)
            return None
        try:
            plan = read_plan(data, self._api._release.archive)
        except Unreadable as reason:
            self._unreadable(str(reason))
            return None
        log.say("INFO", f"Loaded engine size: {len(data) >> 20} MiB")
        return make(self._api.ICudaEngine, plan=plan, log=log) if self._takes(plan) else None

    def _unreadable(self, reason: str) -> None:
        error, name = self._api._log.error, _DESERIALIZE
        if reason:
            where = "stdArchiveReader.cpp::StdArchiveReader::40"
            error(1, "Serialization", f"Serialization assertion {reason}", name, where)
        else:
            text = "Assertion engine->deserialize(start, size, allocator, runtime) failed. "
            error(2, "Internal Error", text, name, "engine.cpp::deserializeEngine::1148")
        if self._api._release.major < 10:
            text = "Engine deserialization failed."
            error(4, "Internal Error", text, name, "runtime.cpp::deserializeCudaEngine::65")

    def _takes(self, plan: Plan) -> bool:
        release, gpu = self._api._release, driver.device()
        portable = "VERSION_COMPATIBLE" in plan.flags and self._host_code
        if plan.library != release.library and not portable:
            return self._refuse(
                "The engine plan file is not compatible with this version of TensorRT, expecting "
                f"library version {release.library} got {plan.library}, please rebuild."
            )
        if "VERSION_COMPATIBLE" in plan.flags and not self._host_code:
            # The real wording was not to be found.
            return self._refuse("Deserializing it needs setEngineHostCodeAllowed(true).")
        if not _runs_on(plan, gpu.compute_capability):
            here, there = (".".join(map(str, c)) for c in (gpu.compute_capability, _built(plan)))
            return self._refuse(
                "The engine plan file is generated on an incompatible device, expecting compute "
                f"{here} got compute {there}, please rebuild."
            )
        if plan.gpu != gpu.name:
            self._api._log.say(
                "WARNING",
                "Using an engine plan file across different models of devices is not recommended "
                "and is likely to affect performance or even cause errors.",
            )
        return True

    def _refuse(self, text: str) -> bool:
        if self._api._release.major >= 10:
            text = f"{_DESERIALIZE}: Error Code 6: API Usage Error ({text})"
        else:
            text = f"6: {text}"
        self._api._log.say("ERROR", text)
        return False


def _built(plan: Plan) -> tuple[int, int]:
    return plan.compute_capability


def _runs_on(plan: Plan, compute_capability: tuple[int, int]) -> bool:
    if plan.level == "AMPERE_PLUS":
        return min(compute_capability, plan.compute_capability) >= (8, 0)
    return plan.compute_capability == compute_capability


class ICudaEngine(Strict):
    """A plan that was taken."""

    _spans: ClassVar[Spans] = {
        "device_memory_size": (0, 11),
        "device_memory_size_v2": (10, 99),
        "has_implicit_batch_dimension": (0, 11),
    }
    _plan: Plan
    _log: Any

    @property
    def name(self) -> str:
        """Of the network."""
        return self._plan.name

    @property
    def num_io_tensors(self) -> int:
        """Inputs and outputs together."""
        return len(self._plan.tensors)

    @property
    def num_layers(self) -> int:
        """Layers of the engine."""
        return len(self._plan.layers)

    @property
    def num_optimization_profiles(self) -> int:
        """At least one, also where nothing is dynamic."""
        return max(1, len(self._plan.profiles))

    @property
    def device_memory_size(self) -> int:
        """Bytes that a context needs."""
        return 0

    @property
    def device_memory_size_v2(self) -> int:
        """Bytes that a context needs."""
        return 0

    @property
    def has_implicit_batch_dimension(self) -> bool:
        """Never, with ONNX."""
        return False

    @property
    def hardware_compatibility_level(self) -> Any:
        """As it was built."""
        return getattr(self._api.HardwareCompatibilityLevel, self._plan.level)

    @property
    def profiling_verbosity(self) -> Any:
        """As it was built."""
        return getattr(self._api.ProfilingVerbosity, self._plan.verbosity)

    def get_tensor_name(self, index: int) -> str:
        """Of an input or output."""
        return self._plan.tensors[as_int(index, "get_tensor_name")].name

    def get_tensor_mode(self, name: str) -> Any:
        """Whether it is an input or an output; NONE for an unknown name."""
        tensor = self._plan.tensor(name)
        mode = "NONE" if tensor is None else "INPUT" if tensor.is_input else "OUTPUT"
        return getattr(self._api.TensorIOMode, mode)

    def get_tensor_shape(self, name: str) -> Dims:
        """-1 where it is dynamic."""
        tensor = self._plan.tensor(name)
        return invalid_dims() if tensor is None else Dims(tensor.shape)

    def get_tensor_dtype(self, name: str) -> Any:
        """Its type."""
        tensor = self._plan.tensor(name)
        return getattr(self._api.DataType, tensor.dtype if tensor else "FLOAT")

    def get_tensor_location(self, name: str) -> Any:
        """On the GPU, always."""
        return self._api.TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """Smallest, best and largest shape of an input; three of no use for anything else."""
        number = as_int(profile_index, "get_tensor_profile_shape")
        tensor = self._plan.tensor(name)
        if tensor is None or not tensor.is_input or number >= self.num_optimization_profiles:
            return [invalid_dims() for _ in range(3)]
        return [Dims(shape) for shape in _range(self._plan, tensor.name, number)]

    def create_execution_context(self) -> Any:
        """What runs it; with shapes and addresses of its own."""
        context = make(
            self._api.IExecutionContext,
            engine=self,
            shapes={},
            addresses={},
            profile=0,
            log=self._log,
            name="",
        )
        for tensor in self._plan.tensors:
            if tensor.is_input and -1 not in tensor.shape:
                context._shapes[tensor.name] = tensor.shape
        return context

    def create_engine_inspector(self) -> Any:
        """What tells of its layers."""
        return make(self._api.EngineInspector, plan=self._plan)

    def serialize(self) -> Any:
        """The plan again."""
        return host_memory(self._api.IHostMemory, write_plan(self._plan))


class EngineInspector(Strict):
    """Tells of an engine's layers."""

    _plan: Plan

    def get_engine_information(self, format: Any) -> str:
        """All layers, as JSON or a line each; with DETAILED also what each computes in."""
        layers: list[Any] = list(self._plan.layers)
        if self._plan.verbosity == "NONE":
            layers = []
        if self._plan.verbosity == "DETAILED":
            layers = [{"Name": n, "Precision": self._plan.pinned.get(n, "")} for n in layers]
        if format == self._api.LayerInformationFormat.JSON:
            return json.dumps({"Layers": layers, "Bindings": [t.name for t in self._plan.tensors]})
        return "\n".join(map(str, layers))


def _range(plan: Plan, name: str, number: int) -> tuple[Shape, Shape, Shape]:
    """Of an input in a profile; what no profile has is fixed."""
    if number < len(plan.profiles) and name in plan.profiles[number]:
        return plan.profiles[number][name]
    tensor = plan.tensor(name)
    assert tensor is not None  # callers have looked
    return tensor.shape, tensor.shape, tensor.shape


class IExecutionContext(Strict):
    """Runs an engine; for one stream and one thread at a time."""

    _engine: Any
    _shapes: dict[str, Shape]
    _addresses: dict[str, int]
    _profile: int
    _log: Any
    _name: str

    @property
    def engine(self) -> Any:
        """Whose context it is."""
        return self._engine

    @property
    def name(self) -> str:
        """Free to choose."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def active_optimization_profile(self) -> int:
        """The profile whose shapes it takes."""
        return self._profile

    @property
    def all_binding_shapes_specified(self) -> bool:
        """Whether every input has a shape."""
        return not self.infer_shapes()

    def infer_shapes(self) -> list[str]:
        """Names of the inputs that lack a shape."""
        tensors = self._engine._plan.tensors
        return [t.name for t in tensors if t.is_input and t.name not in self._shapes]

    def set_input_shape(self, name: str, shape: Any) -> bool:
        """Set the shape of an input; False outside the profile's range."""
        plan: Plan = self._engine._plan
        tensor, sizes = plan.tensor(name), tuple(as_int(size, "set_input_shape") for size in shape)
        if tensor is None or not tensor.is_input:
            self._complain("setInputShape", f"Given invalid tensor name: {name}.")
            return False
        low, _, high = _range(plan, name, self._profile)
        if len(sizes) != len(low) or not all(
            a <= size <= b for a, size, b in zip(low, sizes, high, strict=True)
        ):
            self._complain(
                "setInputShape",
                "Parameter check failed, condition: satisfyProfile. Set dimension "
                f"{text_of(sizes)} for tensor {name} does not satisfy any optimization profiles. "
                f"Valid range for profile {self._profile}: {text_of(low)}..{text_of(high)}.",
            )
            return False
        self._shapes[name] = sizes
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        """With the inputs' shapes as they are set; -1 where they are not."""
        plan: Plan = self._engine._plan
        tensor = plan.tensor(name)
        if tensor is None:
            return invalid_dims()
        if tensor.is_input or self.infer_shapes():
            return Dims(self._shapes.get(name, tensor.shape))
        return Dims(_output_shapes(plan.onnx, tuple(sorted(self._shapes.items())))[name])

    def get_max_output_size(self, name: str) -> int:
        """Bytes of an output at the shapes that are set."""
        tensor = self._engine._plan.tensor(name)
        return (
            int(np.prod(tuple(self.get_tensor_shape(name))))
            * np.dtype(_NUMPY[tensor.dtype]).itemsize
        )

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Set where an input or output lies; 0 for nowhere."""
        address = as_int(memory, "set_tensor_address")
        if self._engine._plan.tensor(name) is None:
            self._complain("setTensorAddress", f"Given invalid tensor name: {name}.")
            return False
        if address % _ALIGNMENT:
            # That much is documented; how it is refused is not.
            self._complain("setTensorAddress", f"The address of {name} is not 256-byte aligned.")
            return False
        self._addresses[name] = address
        return True

    def get_tensor_address(self, name: str) -> int:
        """Where an input or output lies; 0 if nobody said it."""
        return self._addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Put a run into a stream; False if that is refused, and the logger is told why."""
        stream = as_int(stream_handle, "execute_async_v3")
        if not self._ready():
            return False
        run = functools.partial(
            _run,
            self._engine._plan,
            dict(self._shapes),
            dict(self._addresses),
            self._engine._api._faults.logit_offset,
        )
        if not driver.enqueue(stream, run):
            self._bad_handle()
            return False
        return True

    def execute_v2(self, bindings: Sequence[int]) -> bool:
        """Run and wait; addresses are given in the order of inputs and outputs."""
        names = [tensor.name for tensor in self._engine._plan.tensors]
        given = zip(names, bindings, strict=True)
        if not all(self.set_tensor_address(name, address) for name, address in given):
            return False
        if not self._ready():
            return False
        _run(
            self._engine._plan,
            self._shapes,
            self._addresses,
            self._engine._api._faults.logit_offset,
        )
        return True

    def _ready(self) -> bool:
        missing = self.infer_shapes()
        if missing:
            self._complain(
                "enqueueV3",
                "Parameter check failed, condition: inputDimensionSpecified && "
                "inputShapesSpecified. Not all shapes are specified. Following input tensors' "
                f"dimensions are not specified: {', '.join(missing)}.",
            )
            return False
        for tensor in self._engine._plan.tensors:
            if not self._addresses.get(tensor.name):
                kind = "input" if tensor.is_input else "output"
                self._complain(
                    "enqueueV3",
                    "Parameter check failed, condition: "
                    "mContext.profileObliviousBindings.at(profileObliviousIndex) != nullptr. "
                    f"Address is not set for {kind} tensor {tensor.name}. Call "
                    "setInputTensorAddress or setTensorAddress before enqueue/execute.",
                )
                return False
        return self._in_the_right_context()

    def _in_the_right_context(self) -> bool:
        fault = self._engine._api._faults.run_fails
        if fault:
            self._log.say("ERROR", fault)
        elif not driver.context_is_right():
            where = "convolutionRunner.cpp::execute::211"
            self._log.error(1, "Cask", "Cask convolution execution", _ENQUEUE, where)
            self._bad_handle()
            return False
        return not fault

    def _bad_handle(self) -> None:
        where = "checkMacros.cpp::catchCudaError::271"
        self._log.error(1, "Cuda Runtime", "invalid resource handle", _ENQUEUE, where)

    def _complain(self, function: str, reason: str) -> None:
        old = f"executionContext.cpp::{function}::1"
        self._log.error(3, "API Usage Error", reason, f"IExecutionContext::{function}", old)


@functools.lru_cache(maxsize=32)
def _session(onnx: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


@functools.lru_cache(maxsize=64)
def _output_shapes(onnx: bytes, inputs: tuple[tuple[str, Shape], ...]) -> dict[str, Shape]:
    """Found by running once on zeros."""
    session = _session(onnx)
    kinds = {node.name: node.type for node in session.get_inputs()}
    feeds = {
        name: np.zeros(shape, np.uint8 if "uint8" in kinds[name] else np.float32)
        for name, shape in inputs
    }
    names = [node.name for node in session.get_outputs()]
    return {
        name: tuple(array.shape)
        for name, array in zip(names, session.run(names, feeds), strict=True)
    }


def _run(plan: Plan, shapes: dict[str, Shape], addresses: dict[str, int], offset: float) -> None:
    """Read inputs from memory, run the ONNX, write outputs to memory."""
    feeds = {
        tensor.name: _memory(
            addresses[tensor.name], shapes[tensor.name], _NUMPY[tensor.dtype]
        ).copy()
        for tensor in plan.tensors
        if tensor.is_input
    }
    names = [tensor.name for tensor in plan.tensors if not tensor.is_input]
    for name, array in zip(names, _session(plan.onnx).run(names, feeds), strict=True):
        wrong = offset if name == "logit" else 0
        _memory(addresses[name], array.shape, array.dtype)[...] = array + array.dtype.type(wrong)


def _memory(address: int, shape: Shape, dtype: npt.DTypeLike) -> Array:
    kind = np.dtype(dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    raw = (ctypes.c_ubyte * nbytes).from_address(address)
    array: Array = np.frombuffer(memoryview(raw), kind).reshape(shape)
    return array
