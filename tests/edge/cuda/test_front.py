"""The GPU's front end agrees with the CPU's to the bit."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from edge.cuda import open_cuda
from edge.cuda.front import Front
from edge.errors import GpuError
from edge.pixels import to_bgr
from edge.regions import cut, parse_region, place, resize_antialiased
from edge.types import Box, Image, PixelFormat
from tests.fakes import as_nv12
from tests.software_cuda import FRONT, OUT_OF_MEMORY, SoftwareGpu

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda

FORMATS: tuple[PixelFormat, ...] = ("bgr", "nv12", "nv12_709")


@pytest.fixture
def cuda(request: pytest.FixtureRequest) -> Iterator[Cuda]:
    """The GPU where PATCHWATCH_REAL_GPU=1 says so, else the driver in software."""
    if os.environ.get("PATCHWATCH_REAL_GPU") != "1":
        request.getfixturevalue("software_gpu")
        request.getfixturevalue("compiler")
    with open_cuda() as cuda:
        yield cuda


def noise(height: int, width: int, pixel_format: PixelFormat, seed: int = 0) -> Image:
    """Every level anywhere, in NV12 also those that no camera gives."""
    shape = (height, width, 3) if pixel_format == "bgr" else (height * 3 // 2, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def scene(height: int, width: int, pixel_format: PixelFormat) -> Image:
    """Something like a photograph: soft light, sharp edges, a little noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = 128 + 100 * np.sin(x / width * 5 + y / height * 3)
    picture = np.stack([light, 255 - light * 0.8, 60 + 0.7 * light], axis=-1)
    for i in range(12):
        centre = (int(width * (0.13 + 0.71 * i % 1)), int(height * (0.07 + 0.37 * i % 1)))
        colour = (40 * i % 256, 90 * i % 256, 255 - 20 * i)
        cv2.circle(picture, centre, height // 9 + i, colour, -1)
    picture += np.random.default_rng(1).normal(0, 3, picture.shape)
    bgr = np.clip(picture, 0, 255).astype(np.uint8)
    return bgr if pixel_format == "bgr" else as_nv12(bgr)


def on_gpu(
    cuda: Cuda,
    front: Front,
    image: Image,
    pixel_format: PixelFormat,
    boxes: Sequence[Box],
    input_hw: tuple[int, int],
) -> Image:
    """What the GPU makes of it: [N, H, W, 3]."""
    rows, width = image.shape[:2]
    frame_hw = (rows if pixel_format == "bgr" else rows * 2 // 3, width)
    frame = cuda.mirrored(image.shape, np.uint8)
    pictures = cuda.mirrored((len(boxes), *input_hw, 3), np.uint8)
    placement = front.place(frame_hw, pixel_format, boxes, input_hw)
    try:
        frame.array[:] = image
        frame.copy_in()
        placement.run(frame.pointer, pictures.pointer)
        pictures.copy_out()
        cuda.synchronize()
        return pictures.array.copy()
    finally:
        for owned in (frame, pictures, placement):
            owned.free()


def on_cpu(
    image: Image, pixel_format: PixelFormat, boxes: Sequence[Box], input_hw: tuple[int, int]
) -> Image:
    bgr = to_bgr(image, pixel_format)
    crops = [bgr[top:bottom, left:right] for left, top, right, bottom in boxes]
    return np.stack([resize_antialiased(np.ascontiguousarray(c), *input_hw) for c in crops])


def difference(one: Image, other: Image) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(np.int16) - other).max())


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("region", ["native", "center:256", "tiles:224", "resize:224", "fit:360"])
def test_it_gives_what_the_regions_give(cuda: Cuda, region: str, pixel_format: PixelFormat) -> None:
    image = scene(722, 1002, pixel_format)
    boxes, input_hw = place(722, 1002, parse_region(region))
    pictures = on_gpu(cuda, Front(cuda), image, pixel_format, boxes, input_hw)
    crops = cut(to_bgr(image, pixel_format), parse_region(region))
    assert difference(pictures, np.stack([crop.image for crop in crops])) == 0


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("make", [scene, noise])
def test_1080p_is_resized_to_the_bit(
    cuda: Cuda, make: Callable[[int, int, PixelFormat], Image], pixel_format: PixelFormat
) -> None:
    image, whole = make(1080, 1920, pixel_format), [(0, 0, 1920, 1080)]
    pictures = on_gpu(cuda, Front(cuda), image, pixel_format, whole, (224, 224))
    assert difference(pictures, on_cpu(image, pixel_format, whole, (224, 224))) == 0


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(
    ("boxes", "input_hw"),
    [
        ([(1, 1, 2, 2)], (1, 1)),
        ([(0, 0, 90, 62)], (1, 1)),
        ([(3, 5, 4, 6)], (7, 9)),
        ([(13, 7, 47, 40)], (33, 34)),
        ([(89, 0, 90, 62)], (31, 5)),
        ([(0, 0, 90, 62)], (200, 30)),
        ([(1, 1, 20, 31), (50, 2, 69, 32), (71, 9, 90, 39), (0, 0, 19, 30)], (16, 16)),
    ],
)
def test_boxes_of_any_size_anywhere(
    cuda: Cuda, boxes: list[Box], input_hw: tuple[int, int], pixel_format: PixelFormat
) -> None:
    image = noise(62, 90, pixel_format)
    pictures = on_gpu(cuda, Front(cuda), image, pixel_format, boxes, input_hw)
    assert difference(pictures, on_cpu(image, pixel_format, boxes, input_hw)) == 0


def test_hundreds_of_geometries(cuda: Cuda) -> None:
    random, front = np.random.default_rng(7), Front(cuda)
    for seed in range(300):
        height, width = (int(n) * 2 for n in random.integers(1, 60, 2))
        pixel_format = FORMATS[seed % 3]
        image = noise(height, width, pixel_format, seed)
        left, top, right, bottom = random_box(random, height, width)
        boxes = [(left, top, right, bottom), (0, 0, right - left, bottom - top)]
        input_hw = tuple(int(n) for n in random.integers(1, 90, 2))
        assert len(input_hw) == 2
        pictures = on_gpu(cuda, front, image, pixel_format, boxes, input_hw)
        expected = on_cpu(image, pixel_format, boxes, input_hw)
        assert difference(pictures, expected) == 0, (height, width, boxes, input_hw)


@pytest.mark.parametrize("version", ["12.3.0", "13.0.0"])
def test_the_order_of_the_axes_is_that_of_pillows_version(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("PIL.__version__", version)
    image = noise(90, 40, "bgr")
    tall, wide = (2, 3, 22, 83), (0, 5, 40, 25)  # Pillow 13 begins with columns for the first
    rows_first = [True, True] if version == "12.3.0" else [False, True]
    for box, rows in zip((tall, wide), rows_first, strict=True):
        (picture,) = on_gpu(cuda, Front(cuda), image, "bgr", [box], (20, 25))
        crop = np.ascontiguousarray(image[box[1] : box[3], box[0] : box[2]])
        between = (crop.shape[0], 25) if rows else (20, crop.shape[1])
        expected = resize_antialiased(resize_antialiased(crop, *between), 20, 25)
        assert np.array_equal(picture, expected)


def random_box(random: np.random.Generator, height: int, width: int) -> Box:
    left, right = sorted(int(n) for n in random.choice(width + 1, 2, replace=False))
    top, bottom = sorted(int(n) for n in random.choice(height + 1, 2, replace=False))
    return left, top, right, bottom


def test_every_colour_of_nv12_is_opencvs(cuda: Cuda) -> None:
    front, (u, v) = Front(cuda), np.mgrid[0:256, 0:256].astype(np.uint8)
    colours = np.stack([u, v], axis=-1).reshape(256, 512)
    for first in range(0, 256, 4):
        # A pair of U and V lies under two by two pixels: four levels of brightness at once.
        bright = np.array([[first, first + 1], [first + 2, first + 3]], np.uint8)
        image = np.concatenate([np.tile(bright, (256, 256)), colours])
        whole = [(0, 0, 512, 512)]
        pictures = on_gpu(cuda, front, image, "nv12", whole, (512, 512))
        assert np.array_equal(pictures[0], cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12))


@pytest.mark.parametrize(("pixel_format", "space"), [("nv12", "itu601"), ("nv12_709", "itu709")])
def test_nv12_by_either_matrix_is_ffmpegs_within_rounding(
    pixel_format: PixelFormat, space: str
) -> None:
    """At the middle of flat tiles, as FFmpeg's swscale interpolates colours between pixels."""
    y, u, v = np.random.default_rng(0).integers(40, 216, (3, 6, 8), np.uint8)
    planes = np.stack([u, v], axis=-1).repeat(8, 0).repeat(8, 1).reshape(48, 128)
    nv12 = np.concatenate([y.repeat(16, 0).repeat(16, 1), planes])
    frame = av.VideoFrame.from_ndarray(nv12, format="nv12")
    expected = frame.reformat(format="bgr24", src_colorspace=space).to_ndarray().astype(np.uint8)
    found = to_bgr(nv12, pixel_format)
    assert difference(found[8::16, 8::16], expected[8::16, 8::16]) <= 3


def test_a_geometry_is_placed_without_waiting_and_given_back(
    cuda: Cuda, software_gpu: SoftwareGpu
) -> None:
    placement = Front(cuda).place((40, 60), "bgr", [(0, 0, 60, 40)], (20, 20))
    assert software_gpu.count("waits") == 0
    cuda.synchronize()  # as whoever frees a placement has waited for its last frame
    for _ in range(2):
        placement.free()
        assert software_gpu.count("device_blocks") == software_gpu.count("host_blocks") == 0


@pytest.mark.parametrize("skip", [0, 1])
def test_without_memory_nothing_is_kept(
    refusing_gpu: SoftwareGpu, compiler: None, skip: int
) -> None:
    with open_cuda() as cuda:
        front = Front(cuda)
        refusing_gpu.fail("cuMemAlloc_v2", OUT_OF_MEMORY, skip=skip)
        with pytest.raises(GpuError, match="Out of GPU memory"):
            front.place((40, 60), "bgr", [(0, 0, 60, 40)], (20, 20))
        assert refusing_gpu.count("device_blocks") == refusing_gpu.count("host_blocks") == 0


@pytest.mark.parametrize("arch", ["sm_72", "sm_87", "sm_110"])
def test_nvcc_takes_the_source(arch: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None or shutil.which("g++") is None:
        pytest.skip("needs nvcc and the g++ that it calls")
    known = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True)
    if arch not in known.stdout.split():
        pytest.skip(f"this nvcc makes no code for {arch}")
    command = [nvcc, f"-arch={arch}", "--cubin", "-Werror", "all-warnings", str(FRONT)]
    subprocess.run([*command, "-o", str(tmp_path / "front.cubin")], check=True)
    assert (tmp_path / "front.cubin").read_bytes()[:4] == b"\x7fELF"
