"""From ONNX to a network: tensors, layers, the definition and its parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from tests.fake_tensorrt.base import Dims, Spans, Strict, as_int, expect, make
from tests.fake_tensorrt.loggers import ILogger
from tests.fake_tensorrt.onnx_graph import Graph, Layer, Refused, Value, parse

_PRECISION_REMOVED = (0, 11)


class ITensor(Strict):
    """A tensor of a network."""

    _value: Value
    _role: str

    @property
    def name(self) -> str:
        """As the ONNX has it."""
        return self._value.name

    @property
    def shape(self) -> Dims:
        """-1 where it is dynamic."""
        return Dims(self._value.shape)

    @property
    def dtype(self) -> Any:
        """Before the builder chooses."""
        return getattr(self._api.DataType, self._value.dtype)

    @property
    def is_network_input(self) -> bool:
        """Whether it comes from outside."""
        return self._role == "input"

    @property
    def is_network_output(self) -> bool:
        """Whether it goes out."""
        return self._role == "output"


class ILayer(Strict):
    """A layer of a network."""

    _spans: ClassVar[Spans] = {
        "precision": _PRECISION_REMOVED,
        "precision_is_set": _PRECISION_REMOVED,
        "reset_precision": _PRECISION_REMOVED,
        "set_output_type": _PRECISION_REMOVED,
        "output_type_is_set": _PRECISION_REMOVED,
        "reset_output_type": _PRECISION_REMOVED,
    }
    _layer: Layer
    _network: Any
    _types: dict[int, Any]
    _precision: Any

    @property
    def name(self) -> str:
        """The ONNX node's, or one made up."""
        return self._layer.name

    @property
    def type(self) -> Any:
        """What it does."""
        return getattr(self._api.LayerType, self._layer.kind)

    @property
    def num_inputs(self) -> int:
        """Tensors that it reads, weights apart."""
        return len(self._layer.inputs)

    @property
    def num_outputs(self) -> int:
        """Tensors that it writes."""
        return len(self._layer.outputs)

    def get_input(self, index: int) -> Any:
        """One of the tensors that it reads; None beyond."""
        values = self._layer.inputs
        return self._network._tensor(values[index]) if 0 <= index < len(values) else None

    def get_output(self, index: int) -> Any:
        """One of the tensors that it writes; None beyond."""
        values = self._layer.outputs
        return self._network._tensor(values[index]) if 0 <= index < len(values) else None

    def get_output_type(self, index: int) -> Any:
        """The type that an output was set to, or has."""
        default = getattr(self._api.DataType, self._layer.outputs[index].dtype)
        return self._types.get(index, default)

    @property
    def precision(self) -> Any:
        """The type that it computes in."""
        return self._api.DataType.FLOAT if self._precision is None else self._precision

    @precision.setter
    def precision(self, dtype: Any) -> None:
        expect(dtype, self._api.DataType, "precision")
        if self._network._typed_by_file("ILayer::setPrecision", "INetworkLayer::setPrecision"):
            return
        self._precision = dtype

    @property
    def precision_is_set(self) -> bool:
        """Whether it was chosen."""
        return self._precision is not None

    def reset_precision(self) -> None:
        """Leave it to the builder."""
        self._precision = None

    def set_output_type(self, index: int, dtype: Any) -> None:
        """Choose the type of an output."""
        expect(dtype, self._api.DataType, "set_output_type")
        if self._network._typed_by_file("ILayer::setOutputType", "INetworkLayer::setOutputType"):
            return
        self._types[as_int(index, "set_output_type")] = dtype

    def output_type_is_set(self, index: int) -> bool:
        """Whether it was chosen."""
        return index in self._types

    def reset_output_type(self, index: int) -> None:
        """Leave it to the builder."""
        self._types.pop(index, None)


class INetworkDefinition(Strict):
    """A network; empty until it is parsed into."""

    _spans: ClassVar[Spans] = {
        "flags": (10, 99),
        "get_flag": (10, 99),
        "has_implicit_batch_dimension": (0, 11),
    }
    _builder: Any
    _flags: int
    _graph: Graph | None
    _layers: list[Any]
    _log: Any
    _name: str

    @property
    def name(self) -> str:
        """Of the network; free to choose."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return len(self._layers)

    @property
    def num_inputs(self) -> int:
        """How many inputs there are."""
        return len(self._graph.inputs) if self._graph else 0

    @property
    def num_outputs(self) -> int:
        """How many outputs there are."""
        return len(self._graph.outputs) if self._graph else 0

    @property
    def flags(self) -> int:
        """With which it was made, as a bit mask."""
        return self._flags

    def get_flag(self, flag: Any) -> bool:
        """Whether it was made with a flag."""
        expect(flag, self._api.NetworkDefinitionCreationFlag, "get_flag")
        return bool(self._flags >> int(flag) & 1)

    @property
    def has_implicit_batch_dimension(self) -> bool:
        """Whether its shapes leave out the batch."""
        return not self._explicit_batch()

    def get_layer(self, index: int) -> Any:
        """A layer; None beyond the last."""
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def get_input(self, index: int) -> Any:
        """An input; None beyond the last."""
        values = self._graph.inputs if self._graph else ()
        return self._tensor(values[index]) if 0 <= index < len(values) else None

    def get_output(self, index: int) -> Any:
        """An output; None beyond the last."""
        values = self._graph.outputs if self._graph else ()
        return self._tensor(values[index]) if 0 <= index < len(values) else None

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Any:
        return self._layers[index]

    def _explicit_batch(self) -> bool:
        return self._api._release.major >= 10 or bool(self._flags & 1)

    def _strongly_typed(self) -> bool:
        if self._api._release.major >= 11:
            return True
        flag = getattr(self._api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return flag is not None and bool(self._flags >> int(flag) & 1)

    def _typed_by_file(self, function: str, method: str) -> bool:
        """Whether types cannot be set; if so, say it."""
        if self._strongly_typed():
            reason = (
                "Parameter check failed, condition: !mNetwork->usingStronglyTyped(). "
                f"{method} cannot be called for a strongly typed network."
            )
            self._log.error(3, "API Usage Error", reason, function, function)
        return self._strongly_typed()

    def _tensor(self, value: Value) -> Any:
        graph = self._graph
        assert graph is not None  # whoever has a value has parsed
        role = "input" if value in graph.inputs else "output" if value in graph.outputs else ""
        return make(self._api.ITensor, value=value, role=role)

    def _take(self, graph: Graph) -> None:
        self._graph = graph
        self._name = graph.name
        self._layers = [
            make(self._api.ILayer, layer=layer, network=self, types={}, precision=None)
            for layer in graph.layers
        ]


class ParserError(Strict):
    """Why a file was refused."""

    _spans: ClassVar[Spans] = {
        "node_name": (10, 99),
        "node_operator": (10, 99),
        "local_function_stack": (10, 99),
    }
    _refused: Refused

    def code(self) -> Any:
        """Its kind."""
        return getattr(self._api.ErrorCode, self._refused.code)

    def desc(self) -> str:
        """In words."""
        return self._refused.desc

    def file(self) -> str:
        """Of the parser's source."""
        return "ModelImporter.cpp"

    def line(self) -> int:
        """Of the parser's source."""
        return 0

    def func(self) -> str:
        """Of the parser's source."""
        return self._refused.func

    def node(self) -> int:
        """Number of the node, -1 for none."""
        return self._refused.node

    def node_name(self) -> str:
        """The node's name."""
        return self._refused.name

    def node_operator(self) -> str:
        """The node's operator."""
        return self._refused.operator

    def local_function_stack(self) -> list[str]:
        """Functions of the model around the node."""
        return []

    def __str__(self) -> str:
        found = self._refused
        named = f" with name: {found.name} and operator: {found.operator}"
        inside = named if self._api._release.major >= 10 and found.node >= 0 else ""
        return f"In node {found.node}{inside} ({found.func}): {found.code}: {found.desc}"


class OnnxParser(Strict):
    """Fills a network from ONNX; never raises for what is in the file."""

    def __init__(self, network: Any, logger: Any) -> None:
        expect(network, self._api.INetworkDefinition, "__init__")
        expect(logger, ILogger, "__init__")
        self._network = network
        self._logger = logger
        self._errors: list[Any] = []

    @property
    def num_errors(self) -> int:
        """How many were found."""
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        """One of them."""
        return self._errors[index]

    def clear_errors(self) -> None:
        """Forget them."""
        self._errors.clear()

    def parse(self, model: Any, path: str | None = None) -> bool:
        """Parse a file's bytes."""
        data = bytes(memoryview(model))
        return self._parse(data)

    def parse_from_file(self, model: str) -> bool:
        """Parse a file."""
        expect(model, str, "parse_from_file")
        if not Path(model).is_file():
            self._say(f"Failed to parse ONNX model from file: {model}!")
            return False
        return self._parse(Path(model).read_bytes())

    def _parse(self, data: bytes) -> bool:
        if self._network._layers:
            self._say("Parse was called with a non-empty network definition")
            return False
        major = self._api._release.major
        try:
            self._network._take(parse(data, major, self._network._explicit_batch()))
        except Refused as refused:
            self._errors.append(make(self._api.ParserError, refused=refused))
            number = int(getattr(self._api.ErrorCode, refused.code))
            self._say(f"In function {refused.func}: [{number}] {refused.desc}")
            return False
        return True

    def _say(self, text: str) -> None:
        self._api._log.tell(self._logger, "ERROR", f"ModelImporter.cpp: ERROR: {text}")
