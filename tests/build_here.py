"""Builds engines in the test's own process."""

from __future__ import annotations

from typing import Any

from edge.tensorrt.record import EngineKey
from edge.tensorrt.store import EngineRequest, Progress
from tests.edge.tensorrt.made import make_sidecar


class BuildHere:
    """Builds with the TensorRT that is installed, in this process and unproven."""

    def __init__(self) -> None:
        self.keys: list[EngineKey] = []

    def __call__(self, request: EngineRequest, progress: Progress) -> Any:
        import tensorrt

        from export.engine.build import build
        from export.engine.plan import plans, read_capabilities

        key = request.key
        self.keys.append(key)
        capabilities = read_capabilities(tensorrt)
        plan = plans(capabilities, request.model, key.precision)[0]
        made = build(plan, capabilities, key.shape, 1 << 28).plan
        return made, make_sidecar(made, key)
