"""Whether a model file gives the numbers of the model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from rich.table import Table

from edge.errors import ModelError
from edge.types import Batch
from export.graph import INPUT, LOGIT, PATCH_LOGITS, Shape
from export.precision.session import Session

if TYPE_CHECKING:
    from export.naive import Naive, NaiveWhole
    from training.models import AnyModel

BOUND = 1e-4
"""Largest difference: absolute up to a magnitude of 1, relative above."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parity:
    """What was measured on one shape.

    Attributes:
        shape: pictures, height, width.
        logit: largest difference of a logit.
        patch: largest difference of a patch logit; 0 without patches.
        logit_scaled: the largest of a logit over max(1, |logit|).
        patch_scaled: that of a patch logit over max(1, largest |patch logit|).
    """

    shape: Shape
    logit: float
    patch: float
    logit_scaled: float
    patch_scaled: float

    @property
    def ok(self) -> bool:
        """Whether both lie within the bound; NaN does not."""
        return self.logit_scaled <= BOUND and self.patch_scaled <= BOUND


def default_shapes(model: AnyModel) -> tuple[Shape, ...]:
    """`shapes_from` the smallest picture that the model takes."""
    return shapes_from(smallest_input(model))


def smallest_input(model: AnyModel) -> int:
    """Height and width in pixels of the smallest picture that a model is of use for."""
    from training.models.resnet18 import SMALLEST, ResNet18

    return SMALLEST if isinstance(model, ResNet18) else model.grid.smallest_input()


def shapes_from(least: int) -> tuple[Shape, ...]:
    """Square, odd, tiny, wide, a batch, and a native 1080p frame.

    Args:
        least: height and width of the smallest picture, in pixels.
    """
    return (
        (1, 256, 256),
        (1, 255, 257),
        (1, least, least),
        (1, least + 1, least + 2),
        (1, 180, 320),
        (2, 129, 96),
        (1, 1080, 1920),
    )


def measure(
    model: AnyModel,
    data: bytes,
    shapes: Sequence[Shape],
    starting: Callable[[Shape], None] = lambda shape: None,
) -> list[Parity]:
    """Compare a model in torch with its file in ONNX Runtime.

    The logit is pooled from the patches in float64: torch's own pooling adds up in float32, and
    would be the less exact of the two on a large picture.

    Args:
        model: unfolded; put into evaluation mode.
        data: the file's bytes.
        shapes: of the pictures to compare on.
        starting: told of each shape before its turn.

    Raises:
        ModelError: ONNX Runtime refuses the file or a shape of it.
    """
    compare = _comparison(model, Session(data))
    rows = []
    for shape in shapes:
        starting(shape)
        rows.append(compare(shape))
    return rows


def _comparison(model: AnyModel, session: Session) -> Callable[[Shape], Parity]:
    from export.naive import NaiveWhole, naive_module
    from training.models import ResNet18

    if isinstance(model, ResNet18):
        return partial(_compare_whole, NaiveWhole(model.eval()), session)
    return partial(_compare, naive_module(model), session)


def require(rows: Sequence[Parity]) -> None:
    """Refuse rows past the bound.

    Raises:
        ModelError: names the first of them.
    """
    for row in rows:
        if not row.ok:
            raise ModelError(
                f"The model file differs from the checkpoint at {describe(row.shape)}: by "
                f"{row.logit:.1e} in a logit and {row.patch:.1e} in a patch, where {BOUND:.0e} "
                "is allowed (relative above 1). Nothing was written."
            )


def table(rows: Sequence[Parity]) -> Table:
    """Shape, the differences, the larger of them as it is judged, and the verdict, a row each."""
    out = Table("shape", "max |Δ logit|", "max |Δ patch logit|", "scaled", "verdict")
    out.caption = f"bound {BOUND:.0e} on the scaled difference: absolute to 1, relative above"
    for row in rows:
        figures = (row.logit, row.patch, max(row.logit_scaled, row.patch_scaled))
        verdict = "ok" if row.ok else "too far"
        out.add_row(describe(row.shape), *(f"{figure:.1e}" for figure in figures), verdict)
    return out


def describe(shape: Shape) -> str:
    """A shape as people read it, for instance 2 × 129×96."""
    pictures, height, width = shape
    size = f"{height}×{width}"
    return size if pictures == 1 else f"{pictures} × {size}"


def textured(shape: Shape) -> Batch:
    """Pictures with slopes, waves, edges, grain and clipped parts; uint8 [N, H, W, 3] BGR."""
    pictures, height, width = shape
    y, x = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    colour = np.arange(3)
    waves = 70 * np.sin(0.021 * x + colour) + 50 * np.cos(0.037 * y * (colour + 1) / 2)
    edges = 40 * np.sign(np.sin(0.13 * x + 0.09 * y))
    grain = np.random.default_rng(0).normal(0, 9, (pictures, height, width, 3))
    values = 120 + 0.05 * (x - y) + waves + edges + grain
    frames: Batch = values.clip(0, 255).astype(np.uint8)
    return frames


def _compare(naive: Naive, session: Session, shape: Shape) -> Parity:
    frames = textured(shape)
    expected = _patches_in_torch(naive, frames)
    logits, patches = _run(session, frames)
    if patches.shape != expected.shape:
        raise ModelError(
            f"The model file gives a map of {patches.shape} at {describe(shape)}, the checkpoint "
            f"one of {expected.shape}. Nothing was written."
        )
    pooled = _pooled(naive, expected)
    logit, patch = np.abs(logits - pooled), np.abs(patches - expected)
    return Parity(
        shape,
        float(logit.max()),
        float(patch.max()),
        float((logit / np.maximum(1, np.abs(pooled))).max()),
        float(patch.max() / max(1.0, np.abs(expected).max())),
    )


def _compare_whole(naive: NaiveWhole, session: Session, shape: Shape) -> Parity:
    import torch

    frames = textured(shape)
    with torch.no_grad():
        expected = naive(torch.from_numpy(frames)).double().numpy()
    (logits,) = session.run([LOGIT], {INPUT: frames})
    apart = np.abs(logits.astype(np.float64) - expected)
    scaled = float((apart / np.maximum(1, np.abs(expected))).max())
    return Parity(shape, float(apart.max()), 0.0, scaled, 0.0)


def _patches_in_torch(naive: Naive, frames: Batch) -> Array:
    import torch

    with torch.no_grad():
        patches = naive.model.patch_logits(naive.normalised(torch.from_numpy(frames)))
    return patches.double().numpy()


def _pooled(naive: Naive, patches: Array) -> Array:
    import torch

    with torch.no_grad():
        return naive.model.pooled(torch.from_numpy(patches)).double().numpy()


def _run(session: Session, frames: Batch) -> tuple[Array, Array]:
    logits, patches = session.run([LOGIT, PATCH_LOGITS], {INPUT: frames})
    return logits.astype(np.float64), patches.astype(np.float64)
