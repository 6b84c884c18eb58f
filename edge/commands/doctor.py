"""Check what this machine has: each line says ok, or missing with how to fix it.

With --selftest the default model's TensorRT engines are built in every precision, proven against
ONNX Runtime and timed. That takes some minutes; the report is one JSON file, to be sent back.

Exit codes: 0 `patchwatch run` can work, 1 something that it needs is missing; with --selftest 0
every engine was built and proven, 1 not all.
"""

from __future__ import annotations

import argparse
import ctypes.util
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console

from edge.errors import PatchwatchError, SinkError
from edge.files import cache_folder
from edge.weights import DEFAULT, shipped

Status = Literal["ok", "missing"]
OPENCV_FIX = (
    "pip install 'patchwatch[desktop]' with a desktop, 'patchwatch[headless]' without; on a Jetson "
    "apt install python3-opencv, and no pip OpenCV beside it"
)
PYCUDA_FIX = (
    "on a Jetson sudo apt install python3-dev g++, on a PC install CUDA with nvcc; then "
    "PATH=/usr/local/cuda/bin:$PATH pip install 'pycuda>=2025.1.2' (it is compiled, some minutes)"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line.

    Attributes:
        name: what was looked at.
        status: ok or missing.
        detail: what was found.
        fix: what to do where it is missing.
        needed: whether `patchwatch run` cannot work without it.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""
    needed: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch doctor`."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the lines as JSON")
    form.add_argument(
        "--selftest",
        type=Path,
        metavar="REPORT.json",
        help="build, prove and time the engines of the default model, and write a report",
    )


def run(args: argparse.Namespace) -> int:
    """Print every check; code 1 where something needed is missing."""
    if args.selftest is not None:
        return _selftest(args.selftest, args.selftest_with)
    checks = [check() for check in CHECKS]
    if args.json:
        sys.stdout.write(json.dumps([asdict(check) for check in checks], indent=2) + "\n")
    else:
        _print(checks)
    return int(any(check.needed and check.status == "missing" for check in checks))


def _selftest(path: Path, run_it: Callable[[Path, Callable[[str], None]], Sequence[str]]) -> int:
    from edge.terminal import console

    try:
        with console().status("self-test") as status:
            failed = run_it(path, lambda text: status.update(f"self-test: {text}"))
    except OSError as error:
        raise SinkError(f"{path}: the report cannot be written ({error.strerror}).") from error
    for reason in failed:
        sys.stderr.write(f"patchwatch: {reason}\n")
    said = "not every engine was built" if failed else "every engine was built and proven"
    sys.stdout.write(f"{path}: {said}; please send it back\n")
    return 1 if failed else 0


def _print(checks: list[Check]) -> None:
    out = Console(highlight=False, soft_wrap=True)
    width = max(len(check.name) for check in checks)
    for check in checks:
        colour = "green" if check.status == "ok" else "red" if check.needed else "yellow"
        out.print(
            f"[{colour}]{check.status:<8}[/]{check.name:<{width + 2}}", end="", soft_wrap=True
        )
        out.print(check.detail, markup=False)
        if check.status == "missing" and check.fix:
            out.print(f"{'':<8}{'':<{width + 2}}fix: {check.fix}", markup=False)


def _python() -> Check:
    detail = f"{platform.python_version()} on {platform.machine()}, {platform.system()}"
    fits = sys.version_info >= (3, 10)
    return Check(
        "Python", "ok" if fits else "missing", detail, "install Python 3.10 or newer", True
    )


def _opencv() -> Check:
    try:
        import cv2
    except ImportError as error:
        return Check("OpenCV", "missing", str(error), OPENCV_FIX, needed=True)
    return Check("OpenCV", "ok", f"{cv2.__version__} from {Path(cv2.__file__).parent}", needed=True)


def _opencv_twice() -> Check:
    names = ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
    found = [name for name in names if _version(name)]
    if len(found) > 1:
        fix = f"pip uninstall {' '.join(found)}, then install one"
        return Check("OpenCV builds", "missing", f"two overwrite each other: {found}", fix)
    return Check("OpenCV builds", "ok", found[0] if found else "none from pip (the system's)")


def _ffmpeg() -> Check:
    return _videoio("FFmpeg in OpenCV", "CAP_FFMPEG", "files and streams cannot be read", True)


def _gstreamer() -> Check:
    return _videoio(
        "GStreamer in OpenCV",
        "CAP_GSTREAMER",
        "csi:// cameras cannot be read; other sources can",
        False,
        "use the OpenCV of JetPack (apt install python3-opencv); pip's has no GStreamer",
    )


def _videoio(name: str, backend: str, loss: str, needed: bool, fix: str = OPENCV_FIX) -> Check:
    try:
        import cv2
    except ImportError:
        return Check(name, "missing", "no OpenCV", OPENCV_FIX, needed)
    if cv2.videoio_registry.hasBackend(getattr(cv2, backend)):
        return Check(name, "ok", "present", needed=needed)
    return Check(name, "missing", loss, fix, needed)


def _cameras() -> Check:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        return Check("cameras", "missing", "no /dev/video*", "plug one in, or load its driver")
    closed = [str(path) for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        fix = "add yourself to the group video: sudo usermod -aG video $USER, then log in again"
        return Check("cameras", "missing", f"no permission for {', '.join(closed)}", fix)
    return Check("cameras", "ok", ", ".join(map(str, devices)))


def _display() -> Check:
    try:
        from edge.live.screen import display_problem
    except ImportError:
        return Check("display", "missing", "no OpenCV", OPENCV_FIX)
    problem = display_problem()
    if problem is None:
        return Check("display", "ok", os.environ.get("DISPLAY", "present"))
    return Check("display", "missing", problem, "log in to a desktop, or run with --headless")


def _onnxruntime() -> Check:
    try:
        import onnxruntime
    except ImportError as error:
        return Check("onnxruntime", "missing", str(error), "pip install onnxruntime", needed=True)
    providers = ", ".join(onnxruntime.get_available_providers())
    return Check("onnxruntime", "ok", f"{onnxruntime.__version__}: {providers}", needed=True)


def _encoder() -> Check:
    try:
        import av
    except ImportError as error:
        return Check("H.264 encoder", "missing", str(error), "pip install av")
    if "libx264" in av.codecs_available:
        return Check("H.264 encoder", "ok", f"libx264 in PyAV {av.__version__}")
    return Check("H.264 encoder", "missing", "PyAV without libx264", "pip install --upgrade av")


def _tensorrt() -> Check:
    return _optional(
        "tensorrt",
        "TensorRT",
        "on a Jetson: apt install python3-libnvinfer, and a venv with --system-site-packages",
    )


def _cuda_library() -> Check:
    from edge.cuda import binding_version

    try:
        return Check("CUDA library", "ok", f"pycuda {binding_version()}")
    except PatchwatchError as error:
        return Check("CUDA library", "missing", str(error), PYCUDA_FIX)


def _optional(module: str, name: str, fix: str) -> Check:
    try:
        found = importlib.import_module(module)
    except (ImportError, OSError) as error:
        return Check(name, "missing", str(error), fix)
    return Check(
        name, "ok", str(getattr(found, "__version__", "") or _version(module) or "present")
    )


def _cuda() -> Check:
    library = ctypes.util.find_library("cuda")
    if library is None:
        return Check("CUDA driver", "missing", "no libcuda", "install the NVIDIA driver (JetPack)")
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(library)
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except OSError as error:
        return Check("CUDA driver", "missing", str(error), "install the NVIDIA driver (JetPack)")
    if failed or not count.value:
        return Check("CUDA driver", "missing", f"{library}, but no GPU answers", "check nvidia-smi")
    return Check("CUDA driver", "ok", f"{library}, {count.value} GPU(s)")


def _models() -> Check:
    names = list(shipped())
    if DEFAULT not in names:
        found = f"no {DEFAULT}, the default; found {', '.join(names) or 'none'}"
        return Check("models", "missing", found, "reinstall patchwatch", needed=True)
    listed = (f"{name} (default)" if name == DEFAULT else name for name in names)
    return Check("models", "ok", ", ".join(listed), needed=True)


def _cache() -> Check:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        fix = f"make {folder} writable, or point XDG_CACHE_HOME elsewhere"
        return Check("cache", "missing", str(error), fix)
    return Check("cache", "ok", f"{folder} can be written")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


CHECKS: tuple[Callable[[], Check], ...] = (
    _python,
    _opencv,
    _opencv_twice,
    _ffmpeg,
    _gstreamer,
    _cameras,
    _display,
    _onnxruntime,
    _encoder,
    _models,
    _tensorrt,
    _cuda_library,
    _cuda,
    _cache,
)
