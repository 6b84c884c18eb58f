"""From ONNX to a network: tensors, layers, the definition and its parser."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.fake_tensorrt.base import Dims, Spans, Strict, as_int, expect, make
from tests.fake_tensorrt.loggers import ILogger
from tests.fake_tensorrt.onnx_graph import Graph, Layer, Refused, Value, parse

_ERRORS = {
    "MODEL_DESERIALIZE_FAILED": 3,
    "INVALID_VALUE": 4,
    "INVALID_NODE": 6,
    "UNSUPPORTED_NODE": 8,
}


class ITensor(Strict):
    """A tensor of a network."""

    _value: Value
    _role: str

    @property
    def name(self) -> str:
        return self._value.name

    @property
    def shape(self) -> Dims:
        return Dims(self._value.shape)


class ILayer(Strict):
    """A layer of a network."""

    _spans: ClassVar[Spans] = {"precision": (0, 11), "set_output_type": (0, 11)}
    _layer: Layer
    _network: Any
    _precision: Any

    @property
    def name(self) -> str:
        return self._layer.name

    @property
    def type(self) -> Any:
        return getattr(self._api.LayerType, self._layer.kind)

    @property
    def num_outputs(self) -> int:
        return len(self._layer.outputs)

    @property
    def precision(self) -> Any:
        return self._api.DataType.FLOAT if self._precision is None else self._precision

    @precision.setter
    def precision(self, dtype: Any) -> None:
        expect(dtype, self._api.DataType, "precision")
        if self._network._typed_by_file("ILayer::setPrecision", "INetworkLayer::setPrecision"):
            return
        self._precision = dtype

    def set_output_type(self, index: int, dtype: Any) -> None:
        expect(dtype, self._api.DataType, "set_output_type")
        if self._network._typed_by_file("ILayer::setOutputType", "INetworkLayer::setOutputType"):
            return
        as_int(index, "set_output_type")


class INetworkDefinition(Strict):
    """A network; empty until it is parsed into."""

    _builder: Any
    _flags: int
    _graph: Graph | None
    _layers: list[Any]
    _log: Any

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @property
    def num_inputs(self) -> int:
        return len(self._graph.inputs) if self._graph else 0

    def get_layer(self, index: int) -> Any:
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def get_input(self, index: int) -> Any:
        values = self._graph.inputs if self._graph else ()
        return self._tensor(values[index]) if 0 <= index < len(values) else None

    def _explicit_batch(self) -> bool:
        return self._api._release.major >= 10 or bool(self._flags & 1)

    def _strongly_typed(self) -> bool:
        if self._api._release.major >= 11:
            return True
        flag = getattr(self._api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return flag is not None and bool(self._flags >> int(flag) & 1)

    def _typed_by_file(self, function: str, method: str) -> bool:
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
        self._layers = [
            make(self._api.ILayer, layer=layer, network=self, precision=None)
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
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def parse(self, model: Any, path: str | None = None) -> bool:
        data = bytes(memoryview(model))
        return self._parse(data)

    def _parse(self, data: bytes) -> bool:
        if self._network._layers:
            self._say("Parse was called with a non-empty network definition")
            return False
        major = self._api._release.major
        try:
            self._network._take(parse(data, major, self._network._explicit_batch()))
        except Refused as refused:
            self._errors.append(make(self._api.ParserError, refused=refused))
            self._say(f"In function {refused.func}: [{_ERRORS[refused.code]}] {refused.desc}")
            return False
        return True

    def _say(self, text: str) -> None:
        self._api._log.tell(self._logger, "ERROR", f"ModelImporter.cpp: ERROR: {text}")
