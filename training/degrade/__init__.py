"""What happens to pictures on their way to a detector, the same for both classes."""

from training.degrade.chain import Chain
from training.degrade.clips import h264
from training.degrade.columns import (
    COLUMNS,
    H264_23,
    JPEG_75,
    JPEG_90,
    RESIZED_JPEG_85,
    UNTOUCHED,
    Degradation,
)
from training.degrade.policy import Policy
from training.degrade.stills import first_jpeg, jpeg

__all__ = ["COLUMNS", "H264_23", "JPEG_75", "JPEG_90", "RESIZED_JPEG_85", "UNTOUCHED", "Chain"]
__all__ += ["Degradation", "Policy", "first_jpeg", "h264", "jpeg"]
