"""From a plan to evidence: runtime, engine, execution context."""

from __future__ import annotations

import ctypes
import functools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx as onnx_module
import onnxruntime as ort

from tests.fake_tensorrt import driver
from tests.fake_tensorrt.base import (
    Dims,
    Strict,
    as_int,
    expect,
    invalid_dims,
    make,
    text_of,
)
from tests.fake_tensorrt.building import refuse_without_cuda
from tests.fake_tensorrt.loggers import ILogger
from tests.fake_tensorrt.plan import Plan, Shape, Unreadable, read_plan

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

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
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
        if plan.library != release.library:
            return self._refuse(
                "The engine plan file is not compatible with this version of TensorRT, expecting "
                f"library version {release.library} got {plan.library}, please rebuild."
            )
        if plan.compute_capability != gpu.compute_capability:
            both = (gpu.compute_capability, plan.compute_capability)
            here, there = (".".join(map(str, numbers)) for numbers in both)
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


class ICudaEngine(Strict):
    """A plan that was taken."""

    _plan: Plan
    _log: Any

    @property
    def num_io_tensors(self) -> int:
        return len(self._plan.tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._plan.tensors[as_int(index, "get_tensor_name")].name

    def get_tensor_mode(self, name: str) -> Any:
        tensor = self._plan.tensor(name)
        mode = "NONE" if tensor is None else "INPUT" if tensor.is_input else "OUTPUT"
        return getattr(self._api.TensorIOMode, mode)

    def get_tensor_shape(self, name: str) -> Dims:
        tensor = self._plan.tensor(name)
        return invalid_dims() if tensor is None else Dims(tensor.shape)

    def get_tensor_dtype(self, name: str) -> Any:
        tensor = self._plan.tensor(name)
        return getattr(self._api.DataType, tensor.dtype if tensor else "FLOAT")

    def create_engine_inspector(self) -> Any:
        return make(self._api.EngineInspector, engine=self, context=None)

    def create_execution_context(self) -> Any:
        if self._api._faults.context_fails:
            self._log.say("ERROR", self._api._faults.context_fails)
            return None
        context = make(
            self._api.IExecutionContext,
            engine=self,
            shapes={},
            addresses={},
            log=self._log,
            state=0,
            flushed=None,
        )
        for tensor in self._plan.tensors:
            if tensor.is_input and -1 not in tensor.shape:
                context._shapes[tensor.name] = tensor.shape
        return context


class EngineInspector(Strict):
    """Tells what an engine is made of."""

    _engine: Any
    _context: Any

    @property
    def execution_context(self) -> Any:
        return self._context

    @execution_context.setter
    def execution_context(self, context: Any) -> None:
        expect(context, self._api.IExecutionContext, "execution_context")
        self._context = context

    def get_engine_information(self, format: Any) -> str:
        expect(format, self._api.LayerInformationFormat, "get_engine_information")
        words = _TYPES_8 if self._api._release.major < 10 else _TYPES_10
        known = self._context is not None and not self._context.infer_shapes()
        layers = [
            {
                "Name": name,
                "LayerType": "Fake",
                "Outputs": [
                    {"Format/Datatype": words[kind] if known else "N/A due to dynamic shapes"}
                ],
            }
            if kind
            else name
            for name, kind in self._engine._plan.layers
        ]
        return json.dumps({"Layers": layers, "Bindings": []})


_TYPES_10 = {"FLOAT": "Float", "HALF": "Half", "INT8": "Int8", "INT32": "Int32", "UINT8": "UInt8"}
_TYPES_10 |= {"INT64": "Int64", "BOOL": "Bool"}
_TYPES_8 = {
    kind: f"Row major linear {word} format"
    for kind, word in {**_TYPES_10, "FLOAT": "FP32", "HALF": "FP16", "INT8": "INT8"}.items()
}


def _range(plan: Plan, name: str) -> tuple[Shape, Shape, Shape]:
    """Of an input in the first profile; what no profile has is fixed."""
    if plan.profiles and name in plan.profiles[0]:
        return plan.profiles[0][name]
    tensor = plan.tensor(name)
    assert tensor is not None  # callers have looked
    return tensor.shape, tensor.shape, tensor.shape


class IExecutionContext(Strict):
    """Runs an engine; for one stream and one thread at a time."""

    _engine: Any
    _shapes: dict[str, Shape]
    _addresses: dict[str, int]
    _log: Any
    _state: int
    _flushed: dict[str, Shape] | None

    def infer_shapes(self) -> list[str]:
        tensors = self._engine._plan.tensors
        return [t.name for t in tensors if t.is_input and t.name not in self._shapes]

    def set_input_shape(self, name: str, shape: Any) -> bool:
        plan: Plan = self._engine._plan
        tensor, sizes = plan.tensor(name), tuple(as_int(size, "set_input_shape") for size in shape)
        if tensor is None or not tensor.is_input:
            self._complain("setInputShape", f"Given invalid tensor name: {name}.")
            return False
        low, _, high = _range(plan, name)
        if len(sizes) != len(low) or not all(
            a <= size <= b for a, size, b in zip(low, sizes, high, strict=True)
        ):
            self._complain(
                "setInputShape",
                "Parameter check failed, condition: satisfyProfile. Set dimension "
                f"{text_of(sizes)} for tensor {name} does not satisfy any optimization profiles. "
                f"Valid range for profile 0: {text_of(low)}..{text_of(high)}.",
            )
            return False
        self._state += self._shapes.get(name) != sizes
        self._shapes[name] = sizes
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        plan: Plan = self._engine._plan
        tensor = plan.tensor(name)
        if tensor is None:
            return invalid_dims()
        if tensor.is_input or self.infer_shapes():
            return Dims(self._shapes.get(name, tensor.shape))
        return Dims(_output_shapes(plan.onnx, tuple(sorted(self._shapes.items())))[name])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        address = as_int(memory, "set_tensor_address")
        if self._engine._plan.tensor(name) is None:
            self._complain("setTensorAddress", f"Given invalid tensor name: {name}.")
            return False
        if address % _ALIGNMENT:
            # That much is documented; how it is refused is not.
            self._complain("setTensorAddress", f"The address of {name} is not 256-byte aligned.")
            return False
        self._state += self._addresses.get(name) != address
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = as_int(stream_handle, "execute_async_v3")
        if not self._ready() or not self._capturable(stream):
            return False
        run = functools.partial(
            self._run,
            self._state if driver.is_capturing(stream) else None,
            self._engine._plan,
            dict(self._shapes),
            dict(self._addresses),
            self._engine._api._faults.logit_offset + self._engine._plan.pins_ignored,
        )
        if not driver.enqueue(stream, run):
            self._bad_handle()
            return False
        if not driver.is_capturing(stream):
            self._flushed = dict(self._shapes)
        return True

    def _capturable(self, stream: int) -> bool:
        """A graph is of a context that was run as it is, and of an engine that can be captured."""
        captures = self._engine._api._faults.captures and self._flushed == self._shapes
        if driver.is_capturing(stream) and not captures:
            where = "checkMacros.cpp::catchCudaError::271"
            text = "operation not permitted when stream is capturing"
            self._log.error(1, "Cuda Runtime", text, _ENQUEUE, where)
            return False
        return True

    def _run(self, state: int | None, plan: Plan, *given: Any) -> None:
        """In a graph, one of a context that was changed since writes nonsense."""
        _run(plan, *given)
        if state is not None and state != self._state:
            shapes = _output_shapes(plan.onnx, tuple(sorted(given[0].items())))
            for name, shape in shapes.items():
                _memory(given[1][name], shape, np.float32)[...] = np.nan

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
        return self._in_the_right_context() and self._reached()

    def _reached(self) -> bool:
        """Whether the GPU reaches the memory; that is found out by running, and so told."""
        if all(map(driver.knows, self._addresses.values())):
            return True
        where = "checkMacros.cpp::catchCudaError::271"
        text = "an illegal memory access was encountered"
        self._log.error(1, "Cuda Runtime", text, _ENQUEUE, where)
        return False

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
    if onnx_module.load_from_string(onnx).opset_import[0].version >= 19:
        # ONNX Runtime's optimisers break quantisers in half precision.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
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
