"""Check this machine: each line says ok, missing and how to fix it, or unused here.

With --selftest the default model's TensorRT engines are built in every precision, verified against
ONNX Runtime and timed. That takes some minutes; the report is one JSON file, to be sent back.

Exit codes: 0 `patchwatch run` can work, 1 something that it needs is missing; with --selftest 0
every engine was built and proven, 1 not all.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console

from edge.cpus import find_cpus, thread_limit
from edge.cuda import binding_version
from edge.errors import PatchwatchError, SinkError
from edge.files import cache_folder
from edge.tensorrt.board import read_board
from edge.weights import DEFAULT, shipped

OPENCV_FIX = (
    "pip install 'patchwatch[desktop]' with a desktop, 'patchwatch[headless]' without; on a Jetson "
    "apt install python3-opencv, and no pip OpenCV beside it"
)
PYCUDA_FIX = (
    "on a Jetson sudo apt install python3-dev g++, on a PC install CUDA with nvcc; then "
    "PATH=/usr/local/cuda/bin:$PATH pip install 'pycuda>=2025.1.2' (it is compiled, some minutes)"
)
TENSORRT_FIX = "on a Jetson: apt install python3-libnvinfer, and a venv with --system-site-packages"
NO_GPU_FIX = (
    "may this user use it? Run: sudo usermod -aG video,render $USER, and log in again (in a "
    "container --runtime nvidia and --group-add; on a PC see nvidia-smi)"
)
GSTREAMER_FIX = "use the OpenCV of JetPack (apt install python3-opencv); pip's has no GStreamer"


class _Missing(Exception):
    """A check found something missing.

    Args:
        detail: what was found.
        fix: what to do, where it is not what the table says.
    """

    def __init__(self, detail: str, fix: str | None = None) -> None:
        super().__init__(detail)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Check:
    """One line.

    Attributes:
        name: what is checked.
        find: returns what was found; raises `_Missing`, or what importing and opening raise.
        fix: what to do where it is missing.
        needed: whether `patchwatch run` cannot work without it.
        only_for: what it is for, and whether that is there; where not, nobody misses it.
    """

    name: str
    find: Callable[[], str]
    fix: str = ""
    needed: bool = False
    only_for: tuple[str, Callable[[], bool]] | None = None

    def run(self) -> Line:
        """Look, and say what was found."""
        try:
            return Line(self.name, "ok", self.find(), "", self.needed)
        except (_Missing, ImportError, OSError, PatchwatchError) as error:
            if self.only_for is not None and not self.only_for[1]():
                return Line(self.name, "unused", f"only for {self.only_for[0]}", "", False)
            fix = getattr(error, "fix", None) or self.fix
            return Line(self.name, "missing", str(error), fix, self.needed)


class Line(NamedTuple):
    """What is printed: `fix` is what to do where something is missing."""

    name: str
    status: Literal["ok", "missing", "unused"]
    detail: str
    fix: str
    needed: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch doctor`."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the lines as JSON")
    form.add_argument(
        "--selftest",
        type=Path,
        metavar="REPORT.json",
        help="build, verify and time the engines of the default model, and write a report",
    )


def run(args: argparse.Namespace) -> int:
    """Print every check; code 1 where something needed is missing."""
    if args.selftest is not None:
        return _selftest(args.selftest, args.selftest_with)
    lines = [check.run() for check in CHECKS]
    if args.json:
        sys.stdout.write(json.dumps([line._asdict() for line in lines], indent=2) + "\n")
    else:
        _print(lines)
    return int(any(line.needed and line.status == "missing" for line in lines))


def _selftest(path: Path, run_it: Callable[[Path, Callable[[str], None]], Sequence[str]]) -> int:
    from edge.terminal import console

    try:
        with console().status("self-test") as status:
            failed = run_it(path, lambda text: status.update(f"self-test: {text}"))
    except OSError as error:
        raise SinkError(f"{path}: the report cannot be written ({error.strerror}).") from error
    for reason in failed:
        sys.stderr.write(f"patchwatch: {reason}\n")
    outcome = "not every engine was built" if failed else "every engine was built and verified"
    sys.stdout.write(f"{path}: {outcome}; please send it back\n")
    return 1 if failed else 0


def _print(lines: Sequence[Line]) -> None:
    out = Console(highlight=False, soft_wrap=True)
    width = max(len(line.name) for line in lines) + 2
    for line in lines:
        colour = "red" if line.needed else "yellow"
        colour = {"ok": "green", "unused": "dim"}.get(line.status, colour)
        out.print(f"[{colour}]{line.status:<8}[/]{line.name:<{width}}", end="", soft_wrap=True)
        out.print(line.detail, markup=False)
        if line.fix:
            out.print(f"{'':<8}{'':<{width}}fix: {line.fix}", markup=False)
    absent = [line.name for line in lines if line.needed and line.status == "missing"]
    can = f"cannot run here without {', '.join(absent)}" if absent else "can run here"
    out.print(f"{'':<8}patchwatch {can}")


def _on_a_jetson() -> bool:
    return read_board().l4t is not None


def _has_nvidia() -> bool:
    # A Jetson's driver has no such device, and Windows' Linux has another.
    places = ("/dev/nvidiactl", "/dev/dxg")
    return _on_a_jetson() or any(map(os.path.exists, places))


def _opencv() -> str:
    import cv2

    return f"{cv2.__version__} from {Path(cv2.__file__).parent}"


def _one_opencv() -> str:
    names = ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
    found = [name for name in names if _version(name)]
    if len(found) > 1:
        fix = f"pip uninstall {' '.join(found)}, then install one"
        raise _Missing(f"two overwrite each other: {found}", fix)
    return found[0] if found else "none from pip (the system's)"


def _gstreamer() -> str:
    import cv2

    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise _Missing("csi:// cameras cannot be read; other sources can", GSTREAMER_FIX)
    return "present"


def _cameras() -> str:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        raise _Missing("no /dev/video*")
    closed = [str(path) for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        fix = "add yourself to the group video: sudo usermod -aG video $USER, then log in again"
        raise _Missing(f"no permission for {', '.join(closed)}", fix)
    return ", ".join(map(str, devices))


def _display() -> str:
    try:
        from edge.live.screen import display_problem
    except ImportError:
        raise _Missing("no OpenCV", OPENCV_FIX) from None
    problem = display_problem()
    if problem is not None:
        raise _Missing(problem)
    return os.environ.get("DISPLAY", "present")


def _onnxruntime() -> str:
    import onnxruntime

    providers = ", ".join(onnxruntime.get_available_providers())
    return f"{onnxruntime.__version__}: {providers}"


def _openvino() -> str:
    if _version("openvino") is None:
        raise _Missing("not installed; it is faster on many CPUs")
    from edge.backends.openvino import load_core

    core = load_core()
    able = ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return f"{_version('openvino')}: {', '.join(core.available_devices)}; the CPU has {able}"


def _c2pa() -> str:
    if _version("c2pa-python") is None:
        raise _Missing("c2pa-python is not installed; it reads who signed a file")
    import c2pa

    return f"c2pa-python {_version('c2pa-python')}, library {c2pa.sdk_version()}"


def _fastest() -> str:
    from edge.backends.auto import choose
    from edge.backends.base import BackendChoice

    if DEFAULT not in shipped():
        return f"no {DEFAULT} to try it on"
    return str(choose(shipped()[DEFAULT], BackendChoice("auto", threads=thread_limit())))


def _pyav() -> str:
    import av

    if "libx264" not in av.codecs_available:
        raise _Missing("PyAV without libx264", "pip install --upgrade av")
    return f"libx264 in PyAV {av.__version__}"


def _tensorrt() -> str:
    found = importlib.import_module("tensorrt")
    return str(getattr(found, "__version__", "") or _version("tensorrt") or "present")


def _cuda() -> str:
    library = "libcuda.so.1"
    try:
        driver, count = ctypes.CDLL(library), ctypes.c_int(0)
    except OSError:
        raise _Missing(f"no {library}") from None
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if failed or not count.value:
        why = f"error {failed}" if failed else "it finds none"
        raise _Missing(f"{library}, but no GPU responds ({why})", NO_GPU_FIX)
    return f"{library}, {count.value} GPU(s)"


def _models() -> str:
    names = list(shipped())
    if DEFAULT not in names:
        raise _Missing(f"no {DEFAULT}, the default; found {', '.join(names) or 'none'}")
    return ", ".join(f"{name} (default)" if name == DEFAULT else name for name in names)


def _cache() -> str:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        fix = f"make {folder} writable, or point XDG_CACHE_HOME elsewhere"
        raise _Missing(str(error), fix) from error
    return f"{folder} can be written"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


_ON_NVIDIA = ("an NVIDIA GPU", _has_nvidia)
_ON_JETSON = ("the csi:// cameras of a Jetson", _on_a_jetson)

CHECKS = (
    Check("Python", lambda: f"{platform.python_version()} on {platform.platform()}", needed=True),
    Check("CPUs", lambda: f"{find_cpus()} may be used, with a thread for each"),
    Check("OpenCV", _opencv, OPENCV_FIX, needed=True),
    Check("OpenCV builds", _one_opencv),
    Check("GStreamer in OpenCV", _gstreamer, OPENCV_FIX, only_for=_ON_JETSON),
    Check("cameras", _cameras, "plug one in, or load its driver"),
    Check("display", _display, "log in to a desktop, or run with --headless"),
    Check("onnxruntime", _onnxruntime, "pip install onnxruntime", needed=True),
    Check("OpenVINO", _openvino, "pip install 'patchwatch[openvino]'"),
    Check("--backend auto", _fastest),
    Check("H.264 encoder", _pyav, "pip install av", needed=True),
    Check("content credentials", _c2pa, "pip install 'patchwatch[provenance]'"),
    Check("models", _models, "reinstall patchwatch", needed=True),
    Check("TensorRT", _tensorrt, TENSORRT_FIX, only_for=_ON_NVIDIA),
    Check("CUDA library", lambda: f"pycuda {binding_version()}", PYCUDA_FIX, only_for=_ON_NVIDIA),
    Check("CUDA driver", _cuda, "install the NVIDIA driver (JetPack)", only_for=_ON_NVIDIA),
    Check("cache", _cache),
)
