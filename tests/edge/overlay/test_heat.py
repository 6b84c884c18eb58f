"""The heat map: where it lies, what it shows, and that it agrees with the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edge.backends import open_backend
from edge.manifest import Calibration, PatchGrid
from edge.overlay import Hud, draw
from edge.overlay.heat import BORDER, HOLD_S, HeatCache, heats_of
from edge.regions import cut, parse_region
from edge.types import Evidence, FloatArray, Frame, Image, Region, Result, State, Verdict
from edge.weights import DEFAULT, find_model
from tests.edge.overlay.test_draw import changed, flat, noise, saying
from tests.fakes import grey

FINE = PatchGrid(receptive_field=7, stride=2, offset=-1)
COARSE = PatchGrid(receptive_field=33, stride=8)
WIDE = PatchGrid(receptive_field=851, stride=32, offset=-394)
"""Of a network that borders every layer, with patches far apart and wide."""
FAIR = Calibration()

Patches = Callable[[int, tuple[int, int]], FloatArray]


def map_shape(grid: PatchGrid, input_hw: tuple[int, int]) -> tuple[int, int]:
    if grid is WIDE:
        return input_hw[0] // grid.stride, input_hw[1] // grid.stride
    spans = [side - 2 * grid.offset - grid.receptive_field for side in input_hw]
    return spans[0] // grid.stride + 1, spans[1] // grid.stride + 1


def regions(image: Image, spec: str, grid: PatchGrid, patches: Patches) -> list[Region]:
    """The regions of a frame, with patches(number, shape) as their maps."""
    found = []
    for number, crop in enumerate(cut(image, parse_region(spec))):
        hw = (crop.image.shape[0], crop.image.shape[1])
        logits = patches(number, map_shape(grid, hw))
        found.append(Region(crop.xyxy, hw, Evidence(float(logits.mean(dtype=np.float64)), logits)))
    return found


def filled(value: float) -> Patches:
    return lambda _, shape: np.full(shape, value, np.float32)


def left_half(value: float, elsewhere: float = -5.0) -> Patches:
    def patches(_: int, shape: tuple[int, int]) -> FloatArray:
        logits = np.full(shape, elsewhere, np.float32)
        logits[:, : shape[1] // 2] = value
        return logits

    return patches


def heat(
    image: Image,
    found: list[Region],
    grid: PatchGrid,
    state: State = "fake",
    calibration: Calibration = FAIR,
) -> npt.NDArray[np.int64]:
    """Red that the heat map adds to the upper half of a frame, int [H / 2, W]."""
    result = saying(image, state, 0.9, regions=found)
    bare = replace(result, regions=tuple(replace(r, evidence=Evidence(0.0)) for r in found))
    red = [draw(r, Hud(grid, calibration))[..., 2].astype(np.int64) for r in (result, bare)]
    return (red[0] - red[1])[: image.shape[0] // 2]


@pytest.mark.parametrize("grid", [FINE, COARSE, WIDE])
@pytest.mark.parametrize(
    ("spec", "chosen", "hw", "place"),
    [
        ("native", 0, (480, 640), (0.3, 0.5)),
        ("native", 0, (1080, 1920), (0.4, 0.7)),
        ("center:400", 0, (480, 640), (0.4, 0.5)),
        ("resize:700", 0, (480, 640), (0.4, 0.6)),
        ("fit:301", 0, (480, 853), (0.4, 0.7)),
        ("tiles:400", 1, (720, 1280), (0.4, 0.5)),
    ],
)
def test_what_is_hot_shows_on_the_pixels_it_came_from(
    spec: str, chosen: int, hw: tuple[int, int], grid: PatchGrid, place: tuple[float, float]
) -> None:
    where: dict[str, tuple[float, float]] = {}

    def spot(number: int, shape: tuple[int, int]) -> FloatArray:
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        row, column = (int(part * side) for part, side in zip(place, shape, strict=True))
        width = max(1.0, shape[0] / 16)
        bell = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
        where["cell"] = row, column
        logits: FloatArray = (40 * bell * (number == chosen) - 8).astype(np.float32)
        return logits

    image = flat(*hw, 0)
    found = regions(image, spec, grid, spot)
    red = heat(image, found, grid)
    rows, columns = np.nonzero(red >= 0.97 * red.max())
    left, top, right, bottom = found[chosen].xyxy
    height, width = found[chosen].input_hw
    # A patch's footprint, by the definition in the manifest; of a network with zeros around every
    # layer's map a patch leans on its own cell.
    offset, field = (0, 32) if grid is WIDE else (grid.offset, grid.receptive_field)
    y, x = (offset + i * grid.stride + field / 2 for i in where["cell"])
    tolerance = 0.02 * hw[0] + grid.stride / 4 + 2
    assert abs(columns.mean() - (left + x * (right - left) / width)) < tolerance
    assert abs(rows.mean() - (top + y * (bottom - top) / height)) < tolerance


@pytest.mark.parametrize("spec", ["native", "center:256", "tiles:200", "resize:256"])
def test_nothing_is_tinted_when_it_is_off_or_impossible(spec: str) -> None:
    image, hud = noise(480, 640), Hud(FINE, FAIR)
    hot = saying(image, regions=regions(image, spec, FINE, filled(50)))
    without = replace(hot, regions=tuple(replace(r, evidence=Evidence(50.0)) for r in hot.regions))
    plain = draw(without, hud)
    assert changed(draw(hot, hud), plain).any()
    np.testing.assert_array_equal(draw(hot, replace(hud, heat_map=False)), plain)
    np.testing.assert_array_equal(draw(hot, replace(hud, patches=None)), plain)
    silent, cold = (replace(each, verdict=Verdict("no_signal")) for each in (hot, without))
    np.testing.assert_array_equal(draw(silent, hud), draw(cold, hud))


@pytest.mark.parametrize("value", [-500.0, -1.0, 0.0, np.nan, np.inf, -np.inf])
def test_what_leans_real_or_says_nothing_is_left_as_it_is(value: float) -> None:
    image = flat(480, 640)
    assert not heat(image, regions(image, "native", FINE, filled(value)), FINE).any()


@pytest.mark.parametrize(("above", "shown"), [(0.1, False), (2.0, True)])
def test_a_tint_that_nobody_would_see_is_none_and_has_no_legend(above: float, shown: bool) -> None:
    image = flat(240, 320)
    found = regions(image, "native", FINE, filled(above))
    result = saying(image, "fake", 0.9, regions=found)
    assert bool(list(heats_of(result, Hud(FINE, FAIR)))) == shown


@pytest.mark.parametrize("grid", [FINE, WIDE])
def test_the_heat_map_agrees_with_the_verdict(grid: PatchGrid) -> None:
    image = flat(480, 640)
    found = regions(image, "native", grid, left_half(20.0))
    strong, weak, none = (
        int(heat(image, found, grid, state).max()) for state in ("fake", "uncertain", "real")
    )
    assert strong > 60 and 0.2 * strong < weak < 0.9 * strong and none == 0
    judged = [replace(found[0], verdict=Verdict("real"), track=1)]
    assert not heat(image, judged, grid, "fake").any()


def test_the_scale_is_that_of_the_calibration_and_of_no_other_part_of_the_picture() -> None:
    image = flat(480, 640)
    usual = heat(image, regions(image, "native", FINE, left_half(3.0, -9.0)), FINE)
    other = heat(image, regions(image, "native", FINE, left_half(3.0, -90.0)), FINE)
    assert np.abs(usual - other)[:, :240].max() <= 2
    for calibration, tinted in (
        (Calibration(bias=3.5), False),
        (Calibration(threshold=0.97), False),
        (Calibration(temperature=0.1, threshold=0.95), True),
    ):
        found = regions(image, "native", FINE, left_half(3.0))
        assert heat(image, found, FINE, "fake", calibration).any() == tinted


def test_the_tint_is_warm_and_lets_the_picture_through() -> None:
    dark, light = (
        draw(saying(image, regions=regions(image, "native", FINE, filled(50))), Hud(FINE, FAIR))
        for image in (flat(480, 640, 0), flat(480, 640, 255))
    )
    blue, green, red = dark[200, 300]
    assert red > green > blue
    assert (light[200, 300].astype(int) - dark[200, 300] >= 0.43 * 255).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_patches_that_are_not_finite_or_huge_do_no_harm(bad: float) -> None:
    def mixed(number: int, shape: tuple[int, int]) -> FloatArray:
        logits = left_half(10.0, -10.0)(number, shape)
        logits[::3, ::2] = bad if np.isfinite(bad) else -np.inf
        return logits

    image = flat(480, 640)
    assert np.isfinite(heat(image, regions(image, "tiles:200", FINE, mixed), FINE)).all()


def test_only_what_is_inside_a_region_and_the_frame_is_tinted() -> None:
    image = noise(480, 640)
    boxes = [(40, 30, 140, 130), (100, 60, 200, 160), (500, 20, 600, 120), (610, -50, 710, 50)]
    boxes += [(-500, 0, -400, 100), (300, 100, 300, 200)]
    logits = np.full(map_shape(FINE, (64, 64)), 50, np.float32)
    inside = np.zeros((480, 640), np.bool_)
    for left, top, right, bottom in boxes:
        inside[max(0, top) : bottom, max(0, left) : max(0, right)] = True
    found = [Region(box, (64, 64), Evidence(50.0, logits)) for box in boxes]
    tinted = heat(image, found, FINE) != 0
    assert not tinted[~inside[:240]].any()
    assert tinted[inside[:240]].mean() > 0.95


@pytest.mark.parametrize("hw", [(480, 640), (471, 633), (150, 640)])
def test_tiles_show_one_even_map_without_seams(hw: tuple[int, int]) -> None:
    image = flat(*hw)
    found = regions(image, "tiles:128", FINE, filled(9.0))
    red = heat(image, found, FINE)
    assert len(found) > 4 and red.min() > 30 and np.ptp(red) <= 1


@pytest.mark.parametrize("hw", [(1, 1), (7, 9), (33, 500)])
def test_maps_of_a_patch_or_two_are_shown(hw: tuple[int, int]) -> None:
    image = flat(*hw)
    region = Region((0, 0, hw[1], hw[0]), hw, Evidence(50.0, np.full((1, 2), 50, np.float32)))
    picture = draw(saying(image, regions=[region]), Hud(COARSE, FAIR))
    assert changed(picture, image).mean() > 0.5


@pytest.mark.parametrize("grid", [FINE, WIDE])
def test_what_padding_does_at_the_edge_is_not_shown(grid: PatchGrid) -> None:
    def padded(_: int, shape: tuple[int, int]) -> FloatArray:
        logits = np.full(shape, -6.0, np.float32)
        for axis in (logits, logits.T):
            axis[[0, -1]] += 13.0
        return logits

    image = flat(1080, 1920)
    assert not heat(image, regions(image, "native", grid, padded), grid).any()


@pytest.mark.slow
def test_the_border_is_as_wide_as_the_default_model_needs() -> None:
    """The middle of a picture, once with the picture around it and once alone."""
    rng = np.random.default_rng(0)
    moved = []
    with open_backend(find_model(DEFAULT)) as backend:
        for _ in range(6):
            coarse = rng.integers(40, 215, (24, 24, 3)).astype(np.uint8)
            image = np.kron(coarse, np.ones((32, 32, 1))).astype(np.uint8)
            whole, alone = (
                backend.infer(np.ascontiguousarray(each)[None])[0].patch_logits
                for each in (image, image[256:512, 256:512])
            )
            assert whole is not None and alone is not None
            moved.append(np.abs(alone - whole[8:16, 8:16]))
    mean = np.mean(moved, axis=0)
    inner = mean[BORDER:-BORDER, BORDER:-BORDER].mean()
    assert mean[0].mean() > 4 * inner and mean[1, 1:-1].mean() > inner


def clip_frame(hot: str, pts: float, source: str = "clip", state: State = "fake") -> Result:
    patches = np.full((118, 158), -4.0, np.float32)
    patches[:, : 60 if hot == "left" else 158][:, 0 if hot == "left" else 100 :] = 8.0
    region = Region((0, 0, 320, 240), (240, 320), Evidence(1.0, patches))
    frame = Frame(grey(90, 240, 320), 0, 0.0, source, pts)
    return Result(frame, region.evidence, Verdict(state, 0.9), {}, (region,))


HELD = Hud(PatchGrid(receptive_field=5, stride=2), FAIR)


@pytest.mark.parametrize(
    ("item", "hud", "held"),
    [
        (clip_frame("right", HOLD_S * 0.9), HELD, True),
        (clip_frame("right", HOLD_S * 1.1), HELD, False),
        (clip_frame("right", 0.01, source="other.png"), HELD, False),
        (clip_frame("right", -1.0), HELD, False),
        (clip_frame("right", 0.01), replace(HELD, heat_map=False), False),
        (clip_frame("right", 0.01, state="real"), HELD, False),
    ],
    ids=["soon", "later", "another source", "a clock that jumps back", "off", "another verdict"],
)
def test_a_heat_map_is_held_for_a_moment_and_not_over_a_change(
    item: Result, hud: Hud, held: bool
) -> None:
    cache = HeatCache()
    first = clip_frame("left", 0.0)
    np.testing.assert_array_equal(draw(first, HELD, cache.of(first, HELD)), draw(first, HELD))
    shown = draw(item, hud, cache.of(item, hud))
    if held:
        kept = draw(item, hud, cache.of(first, HELD))
        np.testing.assert_array_equal(shown, kept)
    else:
        np.testing.assert_array_equal(shown, draw(item, hud))
