from __future__ import annotations

from tests.software_cuda.fixtures import software_cuda, software_gpu

__all__ = ["software_cuda", "software_gpu"]
