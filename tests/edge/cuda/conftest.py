from __future__ import annotations

from tests.software_cuda.fixtures import compiler, refusing_gpu, software_cuda, software_gpu

__all__ = ["compiler", "refusing_gpu", "software_cuda", "software_gpu"]
