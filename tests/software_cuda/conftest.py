from __future__ import annotations

from tests.software_cuda.fixtures import refusing_gpu, software_cuda, software_gpu

__all__ = ["refusing_gpu", "software_cuda", "software_gpu"]
