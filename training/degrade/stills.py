"""Degradations of a single picture. All take and give uint8 [H, W, 3] BGR."""

from __future__ import annotations

import io
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from PIL import Image as PillowImage
from PIL.Image import Resampling

from edge.types import FloatArray, Image

Chroma = Literal["4:2:0", "4:4:4"]
JpegEncoder = Literal["libjpeg", "mjpeg"]
Filter = Literal["nearest", "bilinear", "bicubic", "lanczos"]

FIRST_QUALITY = (75, 98)
_FILTERS: MappingProxyType[Filter, Resampling] = MappingProxyType(
    {
        "nearest": Resampling.NEAREST,
        "bilinear": Resampling.BILINEAR,
        "bicubic": Resampling.BICUBIC,
        "lanczos": Resampling.LANCZOS,
    }
)
_MJPEG_PIXELS: MappingProxyType[Chroma, str] = MappingProxyType(
    {"4:2:0": "yuvj420p", "4:4:4": "yuvj444p"}
)
_COARSEST_QSCALE = 69


def jpeg(image: Image, quality: int, chroma: Chroma = "4:2:0") -> Image:
    """Compress as JPEG with libjpeg, `quality` 1..100 on its scale, and decode again."""
    return _through_pillow(image, "JPEG", quality=quality, subsampling=chroma)


def mjpeg(image: Image, quality: int, chroma: Chroma = "4:2:0") -> Image:
    """Compress as JPEG with FFmpeg's encoder, `quality` mapped by `qscale`, and decode with
    libjpeg.

    Its tables are those of MPEG-1, its rounding and its halving of colour are its own.
    """
    return _decoded(mjpeg_file(image, quality, chroma))


def mjpeg_file(image: Image, quality: int, chroma: Chroma) -> bytes:
    """The JPEG file that FFmpeg's encoder makes; arguments as of `mjpeg`."""
    encoder = CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = image.shape[:2]
    encoder.pix_fmt = _MJPEG_PIXELS[chroma]
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    coarse = str(qscale(quality))
    encoder.options = {"qmin": coarse, "qmax": coarse}
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
    return b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])


def qscale(quality: int) -> int:
    """FFmpeg's step for a quality on libjpeg's scale, 1..69.

    A twelfth of libjpeg's own percentage (5000/q below 50, else 200 - 2q): a photograph then loses
    about as much in both. Where libjpeg's is finer still, FFmpeg has nothing below its step 1.
    """
    percentage = 5000 / quality if quality < 50 else 200 - 2 * quality
    return min(max(round(percentage / 12), 1), _COARSEST_QSCALE)


def webp(image: Image, quality: int) -> Image:
    """Compress as lossy WebP (4:2:0 always), `quality` 0..100 of libwebp, and decode again."""
    return _through_pillow(image, "WEBP", quality=quality, method=2)


def first_jpeg(image: Image, rng: np.random.Generator) -> Image:
    """Give a picture from a lossless file the first compression that most photographs have had.

    Its 8×8 grid falls anywhere, as that of a cropped photograph does.
    """
    top, left = (int(n) for n in rng.integers(0, 8, 2))
    padded = np.pad(image, ((top, 8 - top), (left, 8 - left), (0, 0)), mode="reflect")
    chroma: Chroma = "4:2:0" if rng.random() < 0.5 else "4:4:4"
    done = jpeg(padded, int(rng.integers(*FIRST_QUALITY, endpoint=True)), chroma)
    return done[top : top + image.shape[0], left : left + image.shape[1]]


def resize(image: Image, height: int, width: int, filter: Filter) -> Image:
    """Resample as Pillow does: antialiased when it shrinks, but for `nearest`."""
    picture = PillowImage.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((width, height), _FILTERS[filter]))


def blur(image: Image, sigma: float) -> Image:
    """Blur with a Gaussian of `sigma` pixels, mirrored at the borders."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def gaussian_noise(image: Image, sigma: float, seed: int) -> Image:
    """Add normal noise of `sigma` grey levels, each channel on its own."""
    return _rounded(image + sigma * _normal(image.shape, seed))


def poisson_noise(image: Image, photons: float, seed: int) -> Image:
    """Count photons, of which white gives `photons` on average, each channel on its own.

    Counts are quantiles of the Poisson distribution by the expansion of Cornish and Fisher (1938)
    to its second term, so that two pictures of one size take the same random numbers.
    """
    mean = image.astype(np.float32) * np.float32(photons / 255)
    normal = _normal(image.shape, seed)
    counts = np.rint(mean + np.sqrt(mean) * normal + (normal**2 - 1) / 6 * (mean > 0))
    return _rounded(np.maximum(counts, 0) * (255 / photons))


def _normal(shape: tuple[int, ...], seed: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _rounded(levels: npt.NDArray[np.floating]) -> Image:
    whole: Image = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return whole


def _through_pillow(image: Image, format: str, **options: object) -> Image:
    encoded = io.BytesIO()
    picture = PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    picture.save(encoded, format, **options)
    return _decoded(encoded.getvalue())


def _decoded(file: bytes) -> Image:
    with PillowImage.open(io.BytesIO(file)) as decoded:
        return np.ascontiguousarray(np.asarray(decoded)[:, :, ::-1])
