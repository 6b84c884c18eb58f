"""A picture of faces, each with what the model says of it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from edge.regions import resize_antialiased
from edge.types import Image
from training.evaluation import Logits

ACROSS = 8
WORDS = ("real", "fake")
"""At the index of their label."""

HEADING = "p_real, p_fake | prediction | label"

_SIDE, _TITLE, _GAP = 160, 30, 6
_FONT_SIZE = 13
_LEAST = 2  # columns, so that the heading fits
_INK, _RIGHT, _WRONG, _PAPER = (51, 51, 51), (0, 90, 60), (178, 34, 0), (255, 255, 255)


def title(logit: float, label: int) -> str:
    """What `HEADING` names, of one face.

    They are those of the two classes, sigmoid(∓ logit), not calibrated; a logit above 0 is
    called fake.
    """
    fake = float(0.5 + 0.5 * np.tanh(0.5 * logit))
    return f"{1 - fake:.2f}, {fake:.2f} | {WORDS[logit > 0]} | {WORDS[label]}"


def draw_grid(faces: Sequence[Image], logits: Logits, labels: Sequence[int]) -> Image:
    """Faces in rows of `ACROSS`, a title above each, red where the prediction is wrong.

    Args:
        faces: uint8 [H, W, 3] BGR, at least one.
        logits: [faces].
        labels: real 0, fake 1.

    Returns:
        uint8 [H, W, 3] BGR.
    """
    columns, rows = min(max(len(faces), _LEAST), ACROSS), -(-len(faces) // ACROSS)
    wide, high = _SIDE + _GAP, _SIDE + _TITLE
    page = PillowImage.new("RGB", (columns * wide + _GAP, _TITLE + rows * high + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT_SIZE)
    pen.text((_GAP, _TITLE), HEADING, _INK, font, anchor="ld")
    for place, (face, logit, label) in enumerate(zip(faces, logits, labels, strict=True)):
        left, top = _GAP + place % ACROSS * wide, _TITLE + place // ACROSS * high
        rgb = np.ascontiguousarray(resize_antialiased(face, _SIDE, _SIDE)[..., ::-1])
        page.paste(PillowImage.fromarray(rgb), (left, top + _TITLE))
        colour = _RIGHT if (logit > 0) == bool(label) else _WRONG
        pen.text((left, top + _TITLE - 4), title(float(logit), label), colour, font, anchor="ld")
    return np.ascontiguousarray(np.asarray(page)[..., ::-1])


def as_png(image: Image) -> bytes:
    """A picture, uint8 [H, W, 3] BGR, as a PNG."""
    data = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(image[..., ::-1])).save(data, "PNG")
    return data.getvalue()
