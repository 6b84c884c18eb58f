"""A CUDA driver in software, so that the real pycuda and cuda-python run without a GPU.

`build` compiles `driver.c`, with the kernels of the CUDA sources that it is given, into a
libcuda.so.1. A process finds it once a `SoftwareGpu` is made, before anything has loaded another
one, or by LD_LIBRARY_PATH. The top of `driver.c` says what it checks; tests take it from the
fixture `software_gpu` in `fixtures.py`.

`test_driver` lists what is not modelled.

What can be set, by `SoftwareGpu.set` or, for a process of its own, by variables SOFTWARE_CUDA_…:

    DEVICES      number of GPUs (1)          TOTAL_BYTES  memory of each (1 GiB)
    MAJOR MINOR  compute capability (8, 7)   DRIVER       CUDA version that it knows (13000)
    INTEGRATED   shares the CPU's memory (1) INIT_ERROR   what cuInit fails with (0: it works)
    CAN_MAP      page-locked memory can be   DELAY_US     microseconds that each wait for queued
                 mapped (1)                               work takes longer (0)
    PAGEABLE     reads any memory of the     HIDDEN_BYTES free ones that it does not report (0)
                 process (0)
    NAME         of the GPU ("Orin (software)"; as a variable only)

What can be counted, by `SoftwareGpu.count`:

    device_blocks, host_blocks, streams, events, modules, graphs    alive now
    references   that are held on primary contexts
    depth        of this thread's context stack
    queued       1 where a stream has work that nothing has waited for yet
    allocations, pushes, pops, copies, bytes_copied, graph_launches, and outside of graphs launches
    and host_functions    done since the reset
    waits        for a stream or an event that had not come to its turn
    lost         things that were alive when their context went
    overruns     blocks that were written outside of
    refused      calls that were answered with an error; `last_refusal` names the last one
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
FRONT = HERE.parents[1] / "edge" / "cuda" / "front.cu"
PROBE = HERE / "probe.cu"

INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE = 1, 2, 100
INVALID_IMAGE, INVALID_CONTEXT, ILLEGAL_ADDRESS = 200, 201, 700

_SONAME = "libcuda.so.1"
_ALIVE = (
    *("device_blocks", "host_blocks", "streams", "events", "modules", "graphs"),
    *("references", "depth"),
)
_WRONG = ("queued", "lost", "overruns", "refused")


class SoftwareGpu:
    """The driver in this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        self.library.software_count.restype = ctypes.c_longlong
        self.library.software_last_refusal.restype = ctypes.c_char_p

    def reset(self) -> None:
        """Start over: nothing allocated or pushed, nothing counted, no failure to come."""
        self.library.software_reset()

    def count(self, what: str) -> int:
        """One of the counters that the module lists."""
        count = int(self.library.software_count(what.encode()))
        assert count >= 0, f"there is no counter {what!r}"
        return count

    def set(self, **properties: int) -> None:
        """Set what the module lists, until the next reset; names in lower case."""
        for name, value in properties.items():
            known = self.library.software_set(name.upper().encode(), ctypes.c_longlong(value))
            assert known, f"there is no property {name!r}"

    def fail(self, routine: str, code: int, skip: int = 0, times: int = -1) -> None:
        """Let a routine, by its exported name or "kernel" for the next that runs, answer a code.

        The first `skip` calls still succeed; then `times` calls fail, -1 for all.
        """
        added = self.library.software_fail(
            routine.encode(), code, ctypes.c_long(skip), ctypes.c_long(times)
        )
        assert added, "no room for more failures"

    @property
    def last_refusal(self) -> str:
        """The last routine that was answered with an error, and the error's number."""
        text: bytes = self.library.software_last_refusal()
        return text.decode()

    def assert_clean(self, allow_refused: bool = False) -> None:
        """Nothing is alive, pushed or queued, and nothing was lost, overrun or refused."""
        wrong = [name for name in _WRONG if not (allow_refused and name == "refused")]
        found = {name: self.count(name) for name in (*_ALIVE, *wrong)}
        left = {name: count for name, count in found.items() if count}
        assert not left, f"{left} (last refusal: {self.last_refusal or 'none'})"
        assert self.count("pushes") == self.count("pops")

    def environment(self, **properties: object) -> dict[str, str]:
        """This process's environment, with the driver in the way and properties set."""
        return environment(self.path, **properties)


def environment(path: Path, **properties: object) -> dict[str, str]:
    """An environment in which a process finds the driver."""
    settings = {f"SOFTWARE_CUDA_{name.upper()}": str(value) for name, value in properties.items()}
    return os.environ | settings | {"LD_LIBRARY_PATH": str(path.parent)}


def missing_tool() -> str | None:
    """Why the driver cannot be built here; None where it can."""
    absent = [tool for tool in ("gcc", "g++", "nm") if shutil.which(tool) is None]
    return f"needs {', '.join(absent)} (Debian: apt-get install g++)" if absent else None


def build(folder: Path, sources: Sequence[Path] = (FRONT, PROBE)) -> Path:
    """Compile the driver."""
    folder.mkdir(parents=True, exist_ok=True)
    kernels, unsupported = folder / "kernels.cpp", folder / "unsupported.c"
    kernels.write_text(_kernels(sources))
    unsupported.write_text(_unsupported(_imported_by_pycuda() - _implemented()))
    compiled, library = folder / "kernels.o", folder / _SONAME
    options = ["-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]
    _run("g++", *options, "-std=c++17", "-c", kernels, "-o", compiled)
    link = ("-shared", f"-Wl,-soname,{_SONAME}", "-lstdc++", "-lpthread", "-ldl")
    _run("gcc", *options, HERE / "driver.c", unsupported, compiled, "-o", library, *link)
    return library


def loaded_elsewhere(path: Path) -> str | None:
    """Another libcuda.so.1 that this process uses already, as a sentence; None for none or ours."""
    try:
        ctypes.CDLL(_SONAME, mode=os.RTLD_NOLOAD)
    except OSError:
        return None
    maps = Path("/proc/self/maps").read_text()
    return None if str(path) in maps else "this process has loaded another libcuda.so.1 already"


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)


def _kernels(sources: Sequence[Path]) -> str:
    parts = [f'#include "{HERE / "kernels.hpp"}"']
    rows = []
    for i, source in enumerate(sources):
        parts.append(f'namespace source_{i} {{\n#include "{source}"\n}}')
        names = re.findall(r"__global__\s+void\s+(\w+)", source.read_text(encoding="utf-8"))
        rows += [f"KERNEL(source_{i}, {name})," for name in names]
    table = "\n    ".join([*rows, "{}"])
    exported = 'extern "C" { extern const Kernel software_kernels[]; }'
    return "\n".join(
        [*parts, exported, f"const Kernel software_kernels[] = {{\n    {table}\n}};\n"]
    )


def _unsupported(names: set[str]) -> str:
    """What pycuda wants to link with and no test needs: 801 is CUDA_ERROR_NOT_SUPPORTED."""
    export = '__attribute__((visibility("default")))'
    return "".join(f"{export} int {name}(void) {{ return 801; }}\n" for name in sorted(names))


def _implemented() -> set[str]:
    return set(re.findall(r"^API int (\w+)\(", (HERE / "driver.c").read_text(), re.MULTILINE))


def _imported_by_pycuda() -> set[str]:
    found = importlib.util.find_spec("pycuda")
    if found is None or found.origin is None:
        return set()
    (extension,) = Path(found.origin).parent.glob("_driver*.so")
    command = ["nm", "-D", "--undefined-only", str(extension)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split() if re.fullmatch(r"cu[A-Z]\w+", name)}
