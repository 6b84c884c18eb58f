"""What happens to pictures on their way to a detector, the same for both classes."""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType

from edge.types import Image
from training.degrade.chain import Chain, Resize
from training.degrade.clips import h264
from training.degrade.policy import Policy
from training.degrade.stills import first_jpeg, jpeg

__all__ = ["COLUMNS", "H264_23", "JPEG_75", "JPEG_90", "RESIZED_JPEG_85", "UNTOUCHED", "Chain"]
__all__ += ["Degradation", "Policy", "first_jpeg", "h264", "jpeg"]

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
"""The degradations under which a detector is judged, each of a whole picture, by the name that a
report uses; the resizing is antialiased bicubic and changes the size."""
