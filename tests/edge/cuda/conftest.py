from __future__ import annotations

from tests.software_cuda.fixtures import compiler, library, software_cuda, software_gpu

__all__ = ["compiler", "library", "software_cuda", "software_gpu"]
