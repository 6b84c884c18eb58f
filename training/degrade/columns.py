"""The degradations under which a detector is judged, each of a whole picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType

from edge.types import Image
from training.degrade.chain import Resize
from training.degrade.clips import h264
from training.degrade.stills import jpeg

Degradation = Callable[[Image], Image]

UNTOUCHED = "untouched"
JPEG_90 = "JPEG 90"
JPEG_75 = "JPEG 75"
H264_23 = "H.264 CRF 23"
RESIZED_JPEG_85 = "resized 0.75 + JPEG 85"

COLUMNS: MappingProxyType[str, Degradation] = MappingProxyType(
    {
        UNTOUCHED: lambda image: image,
        JPEG_90: partial(jpeg, quality=90),
        JPEG_75: partial(jpeg, quality=75),
        H264_23: partial(h264, crf=23),
        RESIZED_JPEG_85: lambda image: jpeg(Resize(scale=0.75)(image), quality=85),
    }
)
"""By the name that a report uses; the resizing is antialiased bicubic and changes the size."""
