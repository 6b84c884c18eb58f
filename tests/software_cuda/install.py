"""Install pycuda where there is a compiler for CUDA and perhaps nothing else of it.

`python -m tests.software_cuda.install` builds it (a minute or two) for the interpreter that runs
this. Its build wants two things that only a driver and the whole of CUDA bring: a libcuda.so to
link with, for which an empty one does, and cuRAND, which can be left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = "pycuda==2026.1"


def main() -> int:
    """Build and install it; 0 also where there is nothing to build it with."""
    root = _cuda_root()
    absent = [tool for tool in ("gcc", "g++") if shutil.which(tool) is None]
    if root is None or absent:
        print(f"pycuda's tests skip: they need {', '.join([*absent, 'nvcc with cuda.h'])}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "-q", REQUIREMENT]
        return subprocess.run(command, env=_environment(Path(folder), root)).returncode


def _cuda_root() -> Path | None:
    nvcc = shutil.which("nvcc")
    named = [os.environ.get("CUDA_ROOT"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    places = [Path(name) for name in named if name] + ([Path(nvcc).parents[1]] if nvcc else [])
    whole = (p for p in places if (p / "include/cuda.h").is_file() and (p / "bin/nvcc").is_file())
    return next(whole, None)


def _environment(folder: Path, root: Path) -> dict[str, str]:
    empty = "int cuInit(unsigned flags) { return (int)flags; }"
    link = ["-shared", "-x", "c", "-", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so")]
    subprocess.run(["gcc", *link], input=empty, text=True, check=True)
    if not (root / "include/curand.h").is_file():
        (folder / ".aksetup-defaults.py").write_text("CUDA_ENABLE_CURAND = False\n")
    cache = os.environ.get("PIP_CACHE_DIR") or str(Path.home() / ".cache" / "pip")
    return os.environ | {
        # Its set-up reads that file from the home directory only.
        "HOME": str(folder),
        "PIP_CACHE_DIR": cache,
        "LIBRARY_PATH": str(folder),
        "CUDA_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }


if __name__ == "__main__":
    sys.exit(main())
