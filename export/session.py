"""ONNX Runtime on the CPU, on a graph in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from edge.errors import ModelError
from edge.types import Batch


class Session:
    """Runs a model file's bytes, and `as_written` each node by itself in the types that the file
    has. Nothing to close; ModelError where ONNX Runtime refuses the graph or an input.
    """

    def __init__(self, data: bytes, as_written: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # what it warns of is no news to the person who exports
        if as_written:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        cpu = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=cpu)
        except Exception as error:  # its errors share no base but this
            raise ModelError(f"ONNX Runtime refuses the model file: {error}") from error

    def run(
        self, outputs: Sequence[str], inputs: Mapping[str, Batch]
    ) -> list[npt.NDArray[np.float32]]:
        """The named outputs."""
        try:
            return list(self._session.run(list(outputs), dict(inputs)))
        except Exception as error:  # its errors share no base but this
            shapes = ", ".join(str(array.shape) for array in inputs.values())
            raise ModelError(f"ONNX Runtime refuses {shapes}: {error}") from error
