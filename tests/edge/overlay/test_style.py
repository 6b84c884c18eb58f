"""Numbers for what the eye needs: contrast on any frame, colours that nobody confuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edge.manifest import Calibration
from edge.overlay import Hud, draw
from edge.overlay.style import INK, STATE_COLOURS
from edge.types import Image, Result
from tests.edge.overlay.test_draw import flat, history, noise, saying

Floats = npt.NDArray[np.float64]

LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3, level AA."""


def linear(bgr: npt.ArrayLike) -> Floats:
    """sRGB 0..255, BGR, to linear RGB 0..1."""
    value = np.asarray(bgr, np.float64)[..., ::-1] / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def luminance(bgr: npt.ArrayLike) -> Floats:
    """Relative luminance of BGR 0..255."""
    weighted: Floats = linear(bgr) @ np.array([0.2126, 0.7152, 0.0722])
    return weighted


def contrast(one: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """WCAG contrast ratio of BGR colours."""
    a, b = luminance(one), luminance(other)
    return (np.maximum(a, b) + 0.05) / (np.minimum(a, b) + 0.05)


def least_contrast(with_text: Image, without: Image) -> float:
    """Contrast between the strokes of a text and the very pixels that they replaced."""
    difference = np.abs(luminance(with_text) - luminance(without))
    strokes = difference > 0.9 * difference.max()
    assert strokes.sum() > 2
    return float(contrast(with_text[strokes], without[strokes]).min())


FRAMES: dict[str, Callable[[int, int], Image]] = {
    "black": lambda height, width: flat(height, width, 0),
    "white": lambda height, width: flat(height, width, 255),
    "noise": noise,
}


def pairs(frame: Image) -> list[tuple[Result, Result]]:
    """Results that differ in one text, which is as good as absent in the second."""
    return [
        (saying(frame, source="HHHH"), saying(frame, source=".")),
        (saying(frame, model_ms=88), saying(frame, model_ms=11)),
        (saying(frame, error="HHHH....."), saying(frame, error=".....HHHH")),
        (
            saying(frame, "no_signal", None, source="HHHHHHHH"),
            saying(frame, "no_signal", None, source="........"),
        ),
    ]


@pytest.mark.parametrize("hw", [(480, 640), (720, 1280)])
@pytest.mark.parametrize("kind", FRAMES)
def test_text_can_be_read_on_any_frame(kind: str, hw: tuple[int, int]) -> None:
    hud = Hud(None, Calibration(), history(0.2, 0.8), fps=30.0)
    for one, other in pairs(FRAMES[kind](*hw)):
        assert least_contrast(draw(one, hud), draw(other, hud)) >= LEAST_CONTRAST


@pytest.mark.parametrize("colour", STATE_COLOURS.values())
def test_the_verdict_can_be_read_on_its_colour(colour: tuple[int, int, int]) -> None:
    assert contrast(INK, colour) >= LEAST_CONTRAST


# Viénot, Brettel & Mollon 1999: linear RGB as seen without long- or medium-wave cones.
DICHROMATS = {
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("kind", DICHROMATS)
def test_the_colours_of_verdicts_stay_apart_under_colour_blindness(kind: str) -> None:
    seen = {
        state: np.clip(np.array(DICHROMATS[kind]) @ linear(colour), 0, 1) ** (1 / 2.2)
        for state, colour in STATE_COLOURS.items()
    }
    for one, other in itertools.combinations(seen.values(), 2):
        assert np.linalg.norm(one - other) > 0.2
