"""The heat map of a network that borders every layer, with patches far apart and wide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edge.manifest import Calibration, PatchGrid
from edge.overlay import Hud, draw
from edge.regions import cut, parse_region
from edge.types import Evidence, FloatArray, Image, Region
from tests.edge.overlay.test_draw import changed, flat, noise, saying
from tests.edge.overlay.test_heat import hottest

GRID = PatchGrid(receptive_field=851, stride=32, offset=-394)
WIDE = Calibration(temperature=5.5, bias=-2.0, threshold=0.75)
"""As of a model whose patch logits go to ±20 and whose pictures' to ±8."""

UNCOVERED = np.s_[:400]
"""Rows of a frame of 720 that no panel covers."""

Patches = Callable[[int, tuple[int, int]], FloatArray]


def regions(image: Image, spec: str, patches: Patches) -> list[Region]:
    found = []
    for number, crop in enumerate(cut(image, parse_region(spec))):
        hw = (crop.image.shape[0], crop.image.shape[1])
        logits = patches(number, (hw[0] // GRID.stride, hw[1] // GRID.stride))
        found.append(Region(crop.xyxy, hw, Evidence(float(logits.mean()), logits)))
    return found


def heat(
    image: Image, found: list[Region], calibration: Calibration = WIDE, score: float = 0.99
) -> npt.NDArray[np.int16]:
    """Red that the heat map adds to a frame; at a low score it is too weak for an outline."""
    result = saying(image, "fake", score, regions=found)
    shown, plain = (draw(result, Hud(GRID, calibration, heat_map=on)) for on in (True, False))
    return np.subtract(shown[..., 2], plain[..., 2], dtype=np.int16)


def drawn(mean: float, deviation: float) -> Patches:
    """Two by two patches say the same, as wide patches do that see almost the same pixels."""

    def patches(number: int, shape: tuple[int, int]) -> FloatArray:
        half = (shape[0] // 2 + 1, shape[1] // 2 + 1)
        draws = np.random.default_rng(number).normal(mean, deviation, half)
        return np.kron(draws, np.ones((2, 2)))[: shape[0], : shape[1]].astype(np.float32)

    return patches


def one_hot(row: int, column: int, chosen: int = 0, value: float = 200.0) -> Patches:
    def patches(number: int, shape: tuple[int, int]) -> FloatArray:
        logits = np.full(shape, -8.0, np.float32)
        if number == chosen:
            logits[row, column] = value
        return logits

    return patches


@pytest.mark.parametrize("cell", [(3, 4), (7, 9), (5, 12)])
@pytest.mark.parametrize(
    ("spec", "chosen", "hw"),
    [
        ("center:512", 0, (720, 1280)),
        ("center:512", 0, (1080, 1920)),
        ("center:512", 0, (480, 640)),
        ("native", 0, (720, 1280)),
        ("native", 0, (497, 641)),
        ("resize:512", 0, (1080, 1920)),
        ("tiles:512", 1, (720, 1280)),
    ],
)
def test_a_hot_patch_shows_on_its_own_cell(
    spec: str, chosen: int, hw: tuple[int, int], cell: tuple[int, int]
) -> None:
    image = flat(*hw, 0)
    found = regions(image, spec, one_hot(*cell, chosen))
    left, top, right, bottom = found[chosen].xyxy
    height, width = found[chosen].input_hw
    x, y = hottest(heat(image, found, score=0.05))
    assert abs(x - left - (cell[1] + 0.5) * 32 * (right - left) / width) <= 1.5
    assert abs(y - top - (cell[0] + 0.5) * 32 * (bottom - top) / height) <= 1.5


def test_a_single_patch_is_a_round_spot() -> None:
    image = flat(720, 1280, 0)
    red = heat(image, regions(image, "center:512", one_hot(5, 8, value=50.0)), score=0.05)
    x, y = 384 + int(8.5 * 32), 104 + int(5.5 * 32)
    steps = np.arange(40)
    aside = int((red[y, x + steps] > red[y, x] / 2).sum())
    across = int((red[y + steps, x + steps] > red[y, x] / 2).sum()) * np.sqrt(2)
    assert 12 < aside < 24
    assert across == pytest.approx(aside, rel=0.15)


@pytest.mark.parametrize("hw", [(720, 1280), (480, 640), (300, 900)])
def test_the_region_is_tinted_up_to_its_frame_and_not_beyond(hw: tuple[int, int]) -> None:
    image = noise(*hw)
    found = regions(image, "center:512", drawn(60.0, 0.0))
    left, top, right, bottom = found[0].xyxy
    inside = np.zeros(hw, np.bool_)
    inside[top:bottom, left:right] = True
    result = saying(image, "fake", 0.99, regions=found)
    shown, plain = (draw(result, Hud(GRID, WIDE, heat_map=on)) for on in (True, False))
    tinted = changed(shown, plain)
    assert not tinted[~inside].any()
    # The line just inside the region's edge is drawn over the tint, and so is the panel.
    line = 3
    within = tinted[top + line : hw[0] // 2, left + line : right - line]
    assert within.mean() > 0.98
    outlined = changed(plain, image)
    assert outlined[hw[0] // 3, [left, right - 1]].all()
    assert not outlined[: hw[0] // 3, [left - 1, right]].any()


def shares(mean: float, deviation: float) -> tuple[float, float]:
    """Part of the region with any tint, and its strong tint as a part of the strongest there is."""
    found = regions(flat(720, 1280, 0), "center:512", drawn(mean, deviation))
    red = heat(flat(720, 1280, 0), found)[UNCOVERED]
    left, top, right, _ = found[0].xyxy
    red = red[top:, left:right]
    return float((red > 0).mean()), float(np.quantile(red, 0.95)) / 140


def test_wide_logits_neither_fill_the_map_nor_leave_it_empty() -> None:
    photograph, strong = shares(-5.0, 9.0)
    assert photograph < 0.1 and strong == 0
    undecided, _ = shares(0.0, 9.0)
    generated, strong = shares(6.0, 9.0)
    assert 2 * photograph < undecided < generated
    assert 0.25 < generated < 0.6
    assert 0.2 < strong < 0.9
    everywhere, strong = shares(25.0, 3.0)
    assert everywhere > 0.95 and strong > 0.9


def test_the_scale_is_that_of_the_calibration() -> None:
    image = flat(720, 1280, 0)
    found = regions(image, "center:512", drawn(6.0, 9.0))
    larger = regions(
        image, "center:512", lambda number, shape: 10 * drawn(6.0, 9.0)(number, shape) + 7
    )
    scaled = Calibration(temperature=55.0, bias=-13.0, threshold=0.75)
    assert np.abs(heat(image, found) - heat(image, larger, scaled)).max() <= 2
    biased = Calibration(temperature=5.5, bias=20.0, threshold=0.75)
    assert heat(image, found, biased).sum() < 0.1 * heat(image, found).sum()


def test_cells_that_are_not_finite_are_no_evidence() -> None:
    def half(_: int, shape: tuple[int, int]) -> FloatArray:
        logits = np.full(shape, 30.0, np.float32)
        logits[:, : shape[1] // 2] = np.nan
        return logits

    red = heat(flat(720, 1280, 0), regions(flat(720, 1280), "center:512", half))[UNCOVERED]
    assert not red[:, : 640 - 48].any()
    assert (red[150:, 640 + 16 : 880] > 20).all()
