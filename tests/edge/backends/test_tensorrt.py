"""The runtime of engines: the real pycuda on a CUDA driver in software, and a TensorRT
whose execution is ONNX Runtime's, so that every number is one that a model gave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.backends.base import MAX_BATCH
from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.detector import Detector, Stopwatch, finish_jobs
from edge.errors import ContractError, EngineError, GpuError
from edge.files import sha256_of
from edge.manifest import Manifest, read_manifest
from edge.regions import cut, parse_region
from edge.tensorrt.record import EngineKey, Machine, Shape
from edge.tensorrt.store import EngineCache, EngineRequest, EngineStore, OneEngine, write_engine
from edge.types import Frame, Image
from edge.weights import DEFAULT, find_model
from tests.build_here import BuildHere
from tests.fake_tensorrt import VERSIONS, Installed, installed
from tests.fakes import as_nv12, make_manifest
from tests.onnx_files import write_model
from tests.software_cuda import OUT_OF_MEMORY, SoftwareGpu
from tests.software_cuda.fixtures import refusing_gpu as refusing_gpu
from tests.software_cuda.fixtures import software_cuda as software_cuda
from tests.software_cuda.fixtures import software_gpu as software_gpu


@pytest.fixture(params=VERSIONS)
def fake(request: pytest.FixtureRequest) -> Iterator[Installed]:
    with installed(request.param) as fake:
        yield fake


@pytest.fixture
def one_version() -> Iterator[Installed]:
    with installed("10.3.0") as fake:
        yield fake


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx")


Open = Callable[..., Any]


@pytest.fixture
def opened(model: Path, software_gpu: SoftwareGpu) -> Open:
    """Opens a backend on engines of a model file that are built here."""

    def open_it(
        build: BuildHere | None = None, manifest: Manifest | None = None, **more: Any
    ) -> Any:
        from edge.backends.tensorrt import TensorRTBackend

        manifest, cache = manifest or make_manifest(), EngineCache(model.parent / "engines")
        store = EngineStore(model, manifest, "fp32", build or BuildHere(), cache)
        return TensorRTBackend(store, manifest, **more)

    return open_it


def picture(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.logit == pytest.approx(other.logit, abs=1e-4)
        np.testing.assert_allclose(one.patch_logits, other.patch_logits, atol=1e-4)


def test_gives_the_evidence_of_onnx_runtime(fake: Installed, opened: Open, model: Path) -> None:
    with opened() as backend, OnnxRuntimeBackend(model) as reference:
        assert backend.name == "tensorrt"
        for count, height, width in ((1, 64, 96), (1, 63, 95), (3, 64, 96), (19, 40, 40)):
            frames = np.stack([picture(height, width, seed) for seed in range(count)])
            assert_same(backend.infer(frames), reference.infer(frames))


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("pixel_format", ["bgr", "nv12", "nv12_709"])
@pytest.mark.parametrize(
    "region",
    ["native", "center:40", "center:500", "resize:48", "resize:200", "fit:48", "tiles:40"],
)
def test_cuts_regions_as_the_cpu_does(
    one_version: Installed,
    opened: Open,
    model: Path,
    region: str,
    pixel_format: Any,
    mapped: bool,
) -> None:
    frame = picture(96, 144)
    if pixel_format != "bgr":
        frame = np.random.default_rng(1).integers(0, 256, (96 * 3 // 2, 144), np.uint8)
    spec = parse_region(region)
    with opened(mapped=mapped) as backend, OnnxRuntimeBackend(model) as reference:
        ours, theirs = Detector(backend, spec), Detector(reference, spec)
        for _ in range(2):
            given = Frame(frame, 0, 0.0, "fake", pixel_format=pixel_format)
            (found,), (expected,) = (
                finish_jobs([each.start(given, Stopwatch())]) for each in (ours, theirs)
            )
            assert [part.xyxy for part in found] == [part.xyxy for part in expected]
            assert [part.input_hw for part in found] == [part.input_hw for part in expected]
            assert_same([part.evidence for part in found], [part.evidence for part in expected])


def test_two_frames_are_in_hand_and_neither_harms_the_other(
    one_version: Installed, opened: Open
) -> None:
    region = parse_region("center:32")
    with opened() as backend:
        frames = [np.full((48, 64, 3), level, np.uint8) for level in range(0, 250, 5)]
        pending = []
        for frame in frames:
            pending.append(backend.submit(frame, "bgr", region))
            frame[:] = 7  # its memory may be used again at once
        logits = [each.evidence()[0].logit for each in pending]
    assert logits == pytest.approx([level - 128.0 for level in range(0, 250, 5)], abs=1e-3)


PER_FRAME = ("bytes_copied", "launches", "graph_launches", "host_functions", "waits", "allocations")


def work(gpu: SoftwareGpu, backend: Any, image: Image, pixel_format: str, region: str) -> list[int]:
    """What the driver does for each of fifty frames, after the first few: see `PER_FRAME`."""
    spec = parse_region(region)
    for _ in range(6):
        backend.submit(image, pixel_format, spec).evidence()
    before = [gpu.count(name) for name in PER_FRAME]
    for _ in range(50):
        backend.submit(image, pixel_format, spec).evidence()
    done = [gpu.count(name) - count for name, count in zip(PER_FRAME, before, strict=True)]
    assert not any(count % 50 for count in done)
    return [count // 50 for count in done]


def test_takes_no_memory_for_a_frame_and_waits_once_for_it(
    one_version: Installed, opened: Open, software_gpu: SoftwareGpu
) -> None:
    frames = ((picture(64, 96), "bgr"), (np.zeros((96, 96), np.uint8), "nv12"))
    with opened() as backend:
        for image, kind in frames:
            for region in ("center:32", "resize:32"):
                *_, waits, allocations = work(software_gpu, backend, image, kind, region)
                assert (waits, allocations) == (1, 0), (kind, region)


def test_a_1080p_nv12_stream_costs_the_default_model_one_small_copy_one_graph_and_one_wait(
    one_version: Installed, software_gpu: SoftwareGpu, tmp_path: Path
) -> None:
    """Counted from the first frame after the warm-up, its evidence and map among the bytes."""
    from edge.backends.tensorrt import TensorRTBackend

    path = find_model(DEFAULT)
    manifest, cache = read_manifest(path), EngineCache(tmp_path)
    store = EngineStore(path, manifest, "fp32", BuildHere(), cache)
    with TensorRTBackend(store, manifest, mapped=False) as backend:
        detector = Detector(backend, parse_region("center:512"))
        detector.warm_up((1080, 1920), "nv12")
        before = [software_gpu.count(name) for name in PER_FRAME]
        for seed in range(4):
            image = np.random.default_rng(seed).integers(0, 256, (1620, 1920), np.uint8)
            frame = Frame(image, seed, seed / 30, "door", pixel_format="nv12")
            assert finish_jobs([detector.start(frame, Stopwatch())])[0]
        done = [software_gpu.count(name) - b for name, b in zip(PER_FRAME, before, strict=True)]
    nbytes, *rest = (count / 4 for count in done)
    assert 512 * 512 * 3 // 2 < nbytes <= 450_000
    assert rest == [0, 1, 0, 1, 0]


def test_without_graphs_frames_go_the_plain_way(
    one_version: Installed, opened: Open, software_gpu: SoftwareGpu
) -> None:
    one_version.faults.captures = False
    with opened(mapped=False) as backend:
        assert work(software_gpu, backend, picture(64, 96), "bgr", "resize:32")[1:] == [
            2,
            0,
            1,
            1,
            0,
        ]


def test_frames_are_read_where_they_lie_if_the_gpu_can(
    one_version: Installed, opened: Open, software_gpu: SoftwareGpu, model: Path
) -> None:
    software_gpu.set(pageable=1)
    frame = picture(96, 144)
    with opened() as backend, OnnxRuntimeBackend(model) as reference:
        for region in ("center:40", "resize:48", "tiles:40"):
            spec = parse_region(region)
            crops = np.stack([crop.image for crop in cut(frame, spec)])
            assert_same(backend.submit(frame, "bgr", spec).evidence(), reference.infer(crops))
        assert work(software_gpu, backend, frame, "bgr", "center:40")[:2] == [0, 1]
        assert set(backend.reaches().values()) == {"direct"}


@pytest.mark.parametrize(
    ("properties", "mapped", "expected"),
    [
        ({"integrated": 1, "can_map": 1}, None, {"copied", "mapped"}),
        ({"integrated": 0, "can_map": 1}, None, {"copied"}),
        ({"integrated": 0, "can_map": 1, "pageable": 1}, None, {"copied"}),
        ({"integrated": 1, "can_map": 0}, None, {"copied"}),
        ({"integrated": 0, "can_map": 1}, True, {"mapped"}),
        ({"integrated": 1, "can_map": 1, "pageable": 1}, False, {"copied"}),
    ],
)
def test_zero_copy_is_measured_for_each_way_where_memory_is_shared_and_can_be_set(
    one_version: Installed,
    opened: Open,
    software_gpu: SoftwareGpu,
    properties: dict[str, int],
    mapped: bool | None,
    expected: set[str],
) -> None:
    software_gpu.set(**properties)
    frame = picture(64, 96)
    with opened(mapped=mapped) as backend:
        for region in ("center:32", "resize:32"):
            copied = work(software_gpu, backend, frame, "bgr", region)[0] > 0
            *_, reach = backend.reaches().values()
            assert reach in expected and copied is (reach == "copied")
        assert len(backend.reaches()) == 2


@pytest.mark.parametrize("region", ["center:48", "fit:48", "native"])
def test_the_first_nv12_frame_finds_all_that_it_needs(
    one_version: Installed, opened: Open, software_gpu: SoftwareGpu, region: str
) -> None:
    build = BuildHere()
    with opened(build) as backend:
        detector = Detector(backend, parse_region(region))
        detector.warm_up((96, 144), "nv12")
        names = ("allocations", "modules", "graphs")
        before = [software_gpu.count(name) for name in names], len(build.keys)
        frame = Frame(np.zeros((144, 144), np.uint8), 0, 0.0, "", pixel_format="nv12")
        for _ in range(2):
            assert finish_jobs([detector.start(frame, Stopwatch())])[0]
        assert ([software_gpu.count(name) for name in names], len(build.keys)) == before


def test_the_kernel_decides_where_it_is_slower_on_mapped_memory(
    one_version: Installed, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.backends import tensorrt as module

    real = module.FrameLane._put

    def slow_if_mapped(lane: Any) -> None:
        time.sleep(0.003 * (lane._frame.device is None))
        real(lane)

    monkeypatch.setattr(module.FrameLane, "_put", slow_if_mapped)
    one_version.faults.captures = False  # each run then takes the patched way
    with opened() as backend:
        backend.submit(picture(64, 96), "bgr", parse_region("resize:32")).evidence()
        assert list(backend.reaches().values()) == ["copied"]


def test_times_the_parts_of_a_frame(one_version: Installed, opened: Open) -> None:
    with opened(mapped=False) as backend:
        spans = backend.spans(Shape(batch=1, height=32, width=32))
    assert spans.round_trip > 0 and spans.enqueue > 0
    assert min(spans.copy_in, spans.compute, spans.copy_out) >= 0


def test_another_size_gets_an_engine_of_its_own_and_only_a_few_are_held(
    one_version: Installed, opened: Open, software_gpu: SoftwareGpu
) -> None:
    from edge.backends.tensorrt import MOST_RUNNERS

    build = BuildHere()
    with opened(build, mapped=False) as backend:
        alive = []
        for side in (16, 24, 32, 40, 48, 16):
            backend.infer(np.zeros((1, side, side, 3), np.uint8))
            alive.append(software_gpu.count("device_blocks"))
    assert [key.shape.height for key in build.keys] == [16, 24, 32, 40, 48]
    assert max(alive) == alive[MOST_RUNNERS - 1], "no more engines are held than that"


def test_an_engine_that_tensorrt_does_not_take_is_rebuilt_once(
    one_version: Installed, opened: Open, model: Path
) -> None:
    build = BuildHere()
    one_version.faults.compute_capability = (8, 6)  # the plans are of another GPU
    with (
        opened(build) as backend,
        pytest.raises(EngineError, match="for this device, found one that was built on another"),
    ):
        backend.infer(np.zeros((1, 16, 16, 3), np.uint8))
    assert len(build.keys) == 2
    assert not list((model.parent / "engines").glob("*.engine"))
    one_version.faults.compute_capability = None
    with opened(build) as backend:
        backend.infer(np.zeros((1, 16, 16, 3), np.uint8))
    assert len(build.keys) == 3


def test_what_fails_while_running_is_an_error_with_tensorrts_words(
    one_version: Installed, opened: Open
) -> None:
    frames = np.full((1, 16, 16, 3), 130, np.uint8)
    with opened() as backend:
        backend.infer(frames)
        one_version.faults.run_fails = "Cuda Runtime (invalid resource handle)"
        for _ in range(5):  # more than there are slots: a failure gives its slot back
            with pytest.raises(EngineError, match=r"invalid resource handle"):
                backend.infer(frames)
        one_version.faults.run_fails = ""
        assert backend.infer(frames)[0].logit == pytest.approx(2.0)


def test_without_memory_it_says_how_much_was_asked(
    one_version: Installed, opened: Open, refusing_gpu: SoftwareGpu
) -> None:
    build = BuildHere()
    with opened(build) as backend:
        refusing_gpu.fail("cuMemHostAlloc", OUT_OF_MEMORY)
        with pytest.raises(GpuError, match="Out of GPU memory"):
            backend.infer(np.zeros((1, 16, 16, 3), np.uint8))
    assert len(build.keys) == 1, "lack of memory is no reason to rebuild"


@pytest.mark.parametrize("fault", ["load_fails", "context_fails"])
def test_an_engine_that_gets_no_memory_says_so_and_is_kept(
    one_version: Installed, opened: Open, fault: str
) -> None:
    build = BuildHere()
    setattr(one_version.faults, fault, "Error Code 2: OutOfMemory (Requested size was 9 bytes.)")
    with (
        opened(build) as backend,
        pytest.raises(EngineError, match="too little free memory to load the engine"),
    ):
        backend.infer(np.zeros((1, 16, 16, 3), np.uint8))
    assert len(build.keys) == 1


def test_other_tensors_are_refused(one_version: Installed, opened: Open, model: Path) -> None:
    write_model(model, outputs=("patch_logits",))
    with (
        opened() as backend,
        pytest.raises(ContractError, match=r"Expected frames .uint8, rank 4., logit"),
    ):
        backend.infer(np.zeros((1, 16, 16, 3), np.uint8))


def open_engine(path: Path) -> Any:
    from edge.backends.tensorrt import TensorRTBackend

    engine = OneEngine(path)
    return TensorRTBackend(engine, engine.manifest)


class TestAnEngineByItsPath:
    @pytest.fixture
    def path(self, one_version: Installed, opened: Open, model: Path, tmp_path: Path) -> Path:
        with opened() as backend:
            machine: Machine = backend.machine
        key = EngineKey(
            machine=machine,
            precision="fp32",
            shape=Shape(batch=MAX_BATCH, height=16, width=24),
            onnx_sha256=sha256_of(model),
        )
        plan, sidecar = BuildHere()(EngineRequest(model, key, tmp_path), lambda text: None)
        write_engine(tmp_path / "mine.engine", plan, sidecar)
        return tmp_path / "mine.engine"

    def test_runs_what_it_was_built_for_and_says_what_that_is(self, path: Path) -> None:
        with open_engine(path) as backend:
            frames = np.full((1, 16, 24, 3), 130, np.uint8)
            assert backend.infer(frames)[0].logit == pytest.approx(2)
            assert len(backend.infer(np.repeat(frames, 11, 0))) == 11
            with pytest.raises(EngineError, match=r"takes up to 8x16x24.*1x32x32"):
                backend.infer(np.zeros((1, 32, 32, 3), np.uint8))

    def test_of_another_tensorrt_by_a_wrong_record_is_refused_in_tensorrts_words(
        self, path: Path, one_version: Installed
    ) -> None:
        one_version.faults.load_fails = (
            "The engine plan file is not compatible with this version of TensorRT, expecting "
            "library version 10.3.0.26 got 10.7.0.23, please rebuild."
        )
        with (
            open_engine(path) as backend,
            pytest.raises(EngineError, match=r"of another.*build it again on this device"),
        ):
            backend.infer(np.zeros((1, 16, 24, 3), np.uint8))


@pytest.mark.slow
def test_ten_thousand_frames_with_capture_on_another_thread(
    one_version: Installed, opened: Open, software_gpu: SoftwareGpu
) -> None:
    """Capture writes as fast as it can; detection takes the newest; one thread has the GPU.

    The driver refuses every call from a thread without the context, so that one from elsewhere
    would be counted, and the fixture ends with what was pushed, popped, taken and given back.
    """
    newest: list[tuple[int, Image]] = [(0, np.zeros((24, 32, 3), np.uint8))]
    stop = threading.Event()

    def capture() -> None:
        index = 0
        while not stop.is_set():
            index += 1
            newest[0] = (index, np.full((24, 32, 3), index % 256, np.uint8))
            if index % 100 == 0:
                time.sleep(0)

    thread = threading.Thread(target=capture)
    thread.start()
    region = parse_region("center:16")
    try:
        with opened() as backend:
            waiting = []
            for _ in range(10_000):
                index, image = newest[0]
                waiting.append((index, backend.submit(image, "bgr", region)))
                if len(waiting) == 2:
                    index, pending = waiting.pop(0)
                    assert pending.evidence()[0].logit == pytest.approx(index % 256 - 128, abs=1e-3)
    finally:
        stop.set()
        thread.join()
    assert software_gpu.count("refused") == 0
    # pycuda pushes once more for its own bookkeeping; none pushes for a frame.
    assert software_gpu.count("pushes") == software_gpu.count("pops") <= 2


def test_nv12_of_a_real_picture_is_read_as_opencv_reads_it(
    one_version: Installed, opened: Open, model: Path
) -> None:
    nv12 = as_nv12(np.asarray(cv2.GaussianBlur(picture(64, 96), (9, 9), 3), np.uint8))
    with opened() as backend, OnnxRuntimeBackend(model) as reference:
        found = backend.submit(nv12, "nv12", parse_region("native")).evidence()
        back = np.ascontiguousarray(cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12), np.uint8)
        assert_same(found, reference.infer(back[None]))
