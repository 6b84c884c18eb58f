"""Whether a model file gives the numbers of the model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from edge.errors import ModelError
from edge.types import Batch
from export.differences import Difference, difference, largest
from export.graph import INPUT, LOGIT, PATCH_LOGITS, Shape
from export.session import Session

if TYPE_CHECKING:
    from export.fold import Unfolded
    from training.models import Model

BOUND = 1e-4
"""Largest difference: absolute up to a magnitude of 1, relative above."""


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest difference on one shape: pictures, height, width."""

    shape: Shape
    difference: Difference

    @property
    def ok(self) -> bool:
        """Whether it lies within the bound."""
        return self.difference.scaled <= BOUND


def default_shapes(model: Model) -> tuple[Shape, ...]:
    """Those that a model file is compared on."""
    if model.fixed_input is not None:
        return ((1, *model.fixed_input),)
    return shapes_from(model.smallest_input)


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
    model: Model,
    data: bytes,
    shapes: Sequence[Shape],
    starting: Callable[[Shape], None] = lambda shape: None,
) -> list[Parity]:
    """Compare a model in torch with its file in ONNX Runtime.

    Args:
        model: unfolded; put into evaluation mode.
        data: the file's bytes.
        shapes: of the pictures to compare on.
        starting: told of each shape before its turn.

    Raises:
        ModelError: ONNX Runtime refuses the file or a shape of it.
    """
    from export.fold import Unfolded

    reference, session = Unfolded(model).eval(), Session(data)
    rows = []
    for shape in shapes:
        starting(shape)
        rows.append(Parity(shape, _compare(reference, session, shape)))
    return rows


def require(rows: Sequence[Parity]) -> None:
    """Refuse rows past the bound.

    Raises:
        ModelError: names the first of them.
    """
    for row in rows:
        if not row.ok:
            raise ModelError(
                f"The model file differs from the checkpoint at {describe(row.shape)}: by "
                f"{row.difference}, where {BOUND:.0e} is allowed (relative above 1). Nothing was "
                "written."
            )


def table(rows: Sequence[Parity]) -> Table:
    """Shape, the differences, the larger of them as it is judged, and the verdict, a row each."""
    out = Table("shape", "max |Δ logit|", "max |Δ patch logit|", "scaled", "verdict")
    out.caption = f"bound {BOUND:.0e} on the scaled difference: absolute to 1, relative above"
    for row in rows:
        out.add_row(describe(row.shape), *row.difference.cells(), "ok" if row.ok else "too far")
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


def _compare(reference: Unfolded, session: Session, shape: Shape) -> Difference:
    import torch

    frames = textured(shape)
    with torch.no_grad():
        model = reference.model
        logits, maps = model.evidence(reference.normalised(torch.from_numpy(frames)))
        # torch adds up in float32, and would be the less exact of the two on a large picture.
        logits = logits.double() if maps is None else model.pooled(maps.double())
    if maps is None:
        (found,) = session.run([LOGIT], {INPUT: frames})
        return largest([*map(difference, logits.tolist(), found.tolist())])
    found, found_maps = session.run([LOGIT, PATCH_LOGITS], {INPUT: frames})
    if found_maps.shape != tuple(maps.shape):
        raise ModelError(
            f"The model file gives a map of {found_maps.shape} at {describe(shape)}, the "
            f"checkpoint one of {tuple(maps.shape)}. Nothing was written."
        )
    expected_maps = maps.double().numpy()
    return largest([*map(difference, logits.tolist(), found.tolist(), expected_maps, found_maps)])
