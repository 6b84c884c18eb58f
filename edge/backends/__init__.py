"""What runs a model file: one module for each runtime, imported only when it is chosen."""

from __future__ import annotations

from pathlib import Path

from edge.backends.base import Backend


def open_backend(path: Path, threads: int | None = None) -> Backend:
    """The backend for a model file.

    Args:
        path: a `.onnx` file.
        threads: threads inside an operator; None for every core.

    Raises:
        ModelError: the file cannot be used.
    """
    from edge.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, threads)
