from __future__ import annotations

from tests.software_cuda.fixtures import compiler, software_cuda, software_gpu

__all__ = ["compiler", "software_cuda", "software_gpu"]
