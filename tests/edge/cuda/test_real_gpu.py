"""What only a GPU can say: `make test-gpu`, on any NVIDIA GPU, without TensorRT.

It sets PATCHWATCH_REAL_GPU=1, with which the tests of the front end run on the GPU too, and leaves
its figures in benchmarks/results. It ends after ten minutes whatever hangs. No GPU has been at hand
so far; what can runs on the driver in software elsewhere, so that no line here is wrong by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.cuda import open_cuda
from edge.cuda.front import Front
from edge.differences import BOUNDS, ENGINE_BOUNDS, difference, largest
from edge.proof import proof_frames
from edge.weights import find_model, variant
from tests.edge.cuda.onnx_in_torch import run
from tests.programs import in_python
from tests.software_cuda import environment

ROOT = Path(__file__).resolve().parents[3]
REAL = os.environ.get("PATCHWATCH_REAL_GPU") == "1"
on_a_gpu = pytest.mark.skipif(not REAL, reason="needs an NVIDIA GPU: make test-gpu")

FILES = [
    ("lite0-levels", "fp16", ENGINE_BOUNDS["fp16"]),
    ("tiny-ladeda", "fp16", ENGINE_BOUNDS["fp16"]),
    ("lite0-levels", "int8.fp16", BOUNDS["int8"]),
]


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, Any]]:
    """Figures, which are written at the end."""
    found: dict[str, Any] = {}
    yield found
    if not REAL:
        return
    with open_cuda() as cuda:
        found["gpu"] = cuda.gpu.name
        found["compute_capability"] = cuda.gpu.compute_capability
    name = "".join(c if c.isalnum() else "-" for c in found["gpu"].lower())
    text = json.dumps(found, indent=2) + "\n"
    (ROOT / "benchmarks" / "results" / f"gpu-{name}.json").write_text(text, encoding="utf-8")


Run = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(request: pytest.FixtureRequest) -> Run:
    """Runs lines in a process of its own."""
    found: dict[str, str] = dict(os.environ)
    if not REAL:
        driver: Path = request.getfixturevalue("software_cuda")
        request.getfixturevalue("compiler")
        found = environment(driver) | {"XDG_CACHE_HOME": str(driver.parent / "cache")}

    def run_it(body: str) -> subprocess.CompletedProcess[str]:
        prelude = "from edge.cuda import open_cuda\n"
        return in_python(prelude + textwrap.dedent(body), environment=found)

    return run_it


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> None:
    """The GPU, or the driver in software."""
    if not REAL:
        request.getfixturevalue("software_gpu")
        request.getfixturevalue("compiler")


@pytest.mark.parametrize(("name", "precision", "bound"), FILES)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_a_gpu)])
def test_typed_files_say_on_half_precision_cores_what_float32_says(
    request: pytest.FixtureRequest, name: str, precision: str, bound: float, device: str
) -> None:
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a torch built for CUDA")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = find_model(name)
    typed = variant(model, precision)
    assert typed is not None
    height, width, count = (384, 683, 16) if device == "cuda" else (64, 64, 2)
    found = []
    with OnnxRuntimeBackend(model) as reference:
        for frame in list(proof_frames(height, width))[-count:]:
            (exact,) = reference.infer(frame[None])
            half = run(typed, frame[None], device)
            maps = exact.patch_logits, half["patch_logits"][0]
            found.append(difference(exact.logit, float(half["logit"][0]), *maps))
    worst = largest(found)
    assert worst.scaled <= bound
    if device == "cuda":
        figures = request.getfixturevalue("results")
        figures[f"{name} {precision}"] = {"frames": count, "scaled": worst.scaled, "bound": bound}


@on_a_gpu
def test_the_context_is_shared_with_torch() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a torch built for CUDA")
    before = torch.ones(1000, device="cuda")
    with open_cuda() as cuda:
        array = cuda.mirrored((4,), np.int32)
        array.array[:] = 7
        array.copy_in()
        during = torch.full((1000,), 2.0, device="cuda")
        array.copy_out()
        cuda.synchronize()
        assert array.array.tolist() == [7] * 4
    assert float((before + during).sum()) == 3000


def test_a_bad_pointer_is_an_error_with_cudas_name(script: Run) -> None:
    done = script("""
        from edge.cuda.front import Front
        from edge.errors import GpuError
        try:
            with open_cuda() as cuda:
                placement = Front(cuda).place((8, 8), "bgr", [(0, 0, 8, 8)], (8, 8))
                placement.run(64, 64)
                cuda.synchronize()
        except GpuError as error:
            print(error)
    """)
    assert done.returncode == 0, done.stderr
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in done.stdout and done.stdout.count("\n") == 1


@on_a_gpu
def test_memcheck_finds_nothing() -> None:
    tool = shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
    if tool is None:
        pytest.skip("needs compute-sanitizer, which comes with CUDA")
    tests = ["-k", "regions_give or boxes_of_any_size", "tests/edge/cuda/test_front.py"]
    command = [tool, "--error-exitcode", "9", sys.executable, "-m", "pytest", "-q", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_graph_gives_the_same_bits_and_others_run_while_it_is_waited_for(
    gpu: None, results: dict[str, Any]
) -> None:
    (height, width), rounds = ((1080, 1920), 200) if REAL else ((360, 640), 2)
    image = np.random.default_rng(0).integers(0, 256, (height * 3 // 2, width), np.uint8)
    ticked, stop = threading.Event(), threading.Event()

    def tick() -> None:
        while not stop.wait(0.0005):
            ticked.set()

    with open_cuda() as cuda:
        frame, out = cuda.mirrored(image.shape, np.uint8), cuda.mirrored((384, 683, 3), np.uint8)
        placement = Front(cuda).place((height, width), "nv12", [(0, 0, width, height)], (384, 683))
        frame.array[:] = image

        def put() -> None:
            frame.copy_in()
            placement.run(frame.pointer, out.pointer)
            out.copy_out()

        def timed(work: Any) -> float:
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                work()
                cuda.synchronize()
                times.append((time.perf_counter() - began) * 1e3)
            return float(np.median(times))

        put()
        cuda.synchronize()
        plain = out.array.copy()
        graph = cuda.capture(put)
        out.array[:] = 0
        graph.launch()
        cuda.synchronize()
        assert np.array_equal(out.array, plain)
        thread = threading.Thread(target=tick)
        thread.start()
        results["front_1080p_nv12_ms"] = {"plain": timed(put), "graph": timed(graph.launch)}
        while not ticked.is_set():
            graph.launch()
            cuda.synchronize()
        stop.set()
        thread.join()
