"""What an engine costs on labelled pictures, beside ONNX Runtime running the model file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.errors import RegionError
from edge.labels import STANDARD, LabelFolders
from edge.proof import Infer
from edge.regions import GRID
from edge.tensorrt.record import Loss, Shape
from edge.types import Image
from export.auc import compare


def measure_loss(
    folder: Path,
    model: Path,
    infer: Infer,
    shape: Shape,
    tell: Callable[[str], None] = lambda text: None,
    labels: LabelFolders = STANDARD,
) -> Loss:
    """Judge labelled pictures by an engine and by ONNX Runtime running the model file.

    Both see the middle of a picture of the folder (`0_real/<source>/…`, `1_fake/<generator>/…`),
    or of the further names in `labels`, as large as the engine's frames; smaller pictures are left
    out. SourceError where the folder has no such layout, or no picture is large enough; ModelError
    where either side refuses.
    """

    def judged(side: Infer, image: Image) -> float:
        return side(middle(image, shape)[None])[0].logit

    with OnnxRuntimeBackend(model) as reference:
        found = compare(
            folder,
            lambda image: judged(reference.infer, image),
            lambda image: judged(infer, image),
            reference.manifest.calibration,
            lambda done, total: tell(f"labelled pictures, {done} of {total}"),
            labels,
        )
    return Loss(
        data=str(folder),
        reference_auc=found.reference_auc,
        engine_auc=found.candidate_auc,
        pictures=found.pictures,
        agreement=found.agreement,
    )


def middle(image: Image, shape: Shape) -> Image:
    """The middle of a picture, its corner on the grid of JPEG's blocks; RegionError if smaller."""
    height, width = image.shape[:2]
    if height < shape.height or width < shape.width:
        raise RegionError(
            f"a picture of {height}×{width} pixels is smaller than the engine's frames of "
            f"{shape.height}×{shape.width}; build for smaller frames: --static."
        )
    top = (height - shape.height) // 2 // GRID * GRID
    left = (width - shape.width) // 2 // GRID * GRID
    return np.ascontiguousarray(image[top : top + shape.height, left : left + shape.width])
