"""The heat map: where it lies, what it shows and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edge.manifest import Calibration, PatchGrid
from edge.overlay import Hud, draw
from edge.overlay.heat import HOLD_S, HeatCache
from edge.regions import cut, parse_region
from edge.types import Evidence, FloatArray, Frame, Image, Region, Result, Verdict
from tests.edge.overlay.test_draw import changed, flat, noise, saying
from tests.fakes import grey

FINE = PatchGrid(receptive_field=7, stride=2, offset=-1)
COARSE = PatchGrid(receptive_field=33, stride=8)
ODD = PatchGrid(receptive_field=9, stride=3)
WIDE = PatchGrid(receptive_field=851, stride=32, offset=-394)
"""Of a network that borders every layer, with patches far apart and wide."""
FAIR = Calibration()
SPREAD = Calibration(temperature=5.5, bias=-2.0, threshold=0.75)
"""Of such a network, whose patch logits reach ±20 and whose pictures' ±8."""
HELD = Hud(PatchGrid(receptive_field=5, stride=2), FAIR)
FACING_UP = np.s_[: 480 * 6 // 10]
"""Rows of a frame of 480 that no panel covers."""

Patches = Callable[[int, tuple[int, int]], FloatArray]


def map_shape(grid: PatchGrid, input_hw: tuple[int, int]) -> tuple[int, int]:
    if -grid.offset >= grid.stride:
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


def heat(
    image: Image,
    found: list[Region],
    grid: PatchGrid,
    score: float | None = 0.9,
    calibration: Calibration = FAIR,
) -> npt.NDArray[np.int64]:
    """Opacity-like red that the heat map adds to a frame, int [H, W]."""
    result = saying(image, "uncertain", score, regions=found)
    with_heat, without = (draw(result, hud) for hud in huds(grid, calibration))
    return with_heat[..., 2].astype(np.int64) - without[..., 2]


def fine(
    patches: Patches, spec: str = "native", score: float | None = 0.9
) -> npt.NDArray[np.int64]:
    """The same for a flat frame of 480 × 640 and fine patches, above the panel."""
    image = flat(480, 640)
    return heat(image, regions(image, spec, FINE, patches), FINE, score)[FACING_UP]


def marked(value: float, part: tuple[slice | int, ...], elsewhere: float = -5.0) -> Patches:
    """Maps that say one thing in a part of them, and another elsewhere."""

    def patches(_: int, shape: tuple[int, int]) -> FloatArray:
        logits = np.full(shape, elsewhere, np.float32)
        logits[part] = value
        return logits

    return patches


LEFT = np.s_[:, :159]
"""Half of the fine map of a frame of 480 × 640."""


def huds(grid: PatchGrid | None, calibration: Calibration = FAIR) -> tuple[Hud, Hud]:
    hud = Hud(grid, calibration)
    return hud, replace(hud, heat_map=False)


def hottest(red: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Centre (x, y) of the hottest pixels; a pixel's own centre lies half a pixel in."""
    rows, columns = np.nonzero(red >= 0.97 * red.max())
    return float(columns.mean() + 0.5), float(rows.mean() + 0.5)


def footprint(region: Region, grid: PatchGrid, row: int, column: int) -> tuple[float, float]:
    """Centre (x, y) of a patch's footprint, by the definition in the manifest."""
    left, top, right, bottom = region.xyxy
    height, width = region.input_hw
    x, y = (grid.offset + i * grid.stride + grid.receptive_field / 2 for i in (column, row))
    if grid is WIDE:  # zeros around every layer's map: a patch leans on its own cell
        x, y = ((i + 0.5) * grid.stride for i in (column, row))
    return left + x * (right - left) / width, top + y * (bottom - top) / height


@pytest.mark.parametrize("place", [(0.2, 0.3), (0.5, 0.74)])
@pytest.mark.parametrize("grid", [FINE, COARSE, ODD, WIDE])
@pytest.mark.parametrize(
    ("spec", "chosen", "hw"),
    [
        ("native", 0, (480, 640)),
        ("native", 0, (479, 641)),
        ("native", 0, (1080, 1920)),
        ("center:320", 0, (480, 640)),
        ("resize:256", 0, (480, 640)),
        ("resize:700", 0, (480, 640)),
        ("fit:301", 0, (480, 853)),
        ("tiles:512", 1, (720, 1280)),
        ("tiles:200", 2, (477, 597)),
    ],
)
def test_a_hot_patch_shows_on_the_pixels_it_came_from(
    spec: str, chosen: int, hw: tuple[int, int], grid: PatchGrid, place: tuple[float, float]
) -> None:
    where = {}

    def one_hot(number: int, shape: tuple[int, int]) -> FloatArray:
        logits = np.full(shape, -0.1, np.float32)
        if number == chosen:
            where["cell"] = (int(shape[0] * place[0]), int(shape[1] * place[1]))
            logits[where["cell"]] = 500
        return logits

    image = flat(*hw, 0)
    found = regions(image, spec, grid, one_hot)
    x, y = hottest(heat(image, found, grid, 0.1))
    expected_x, expected_y = footprint(found[chosen], grid, *where["cell"])
    assert abs(x - expected_x) <= 1
    assert abs(y - expected_y) <= 1


def test_the_corner_patch_reaches_the_corner_of_the_frame() -> None:
    image = flat(480, 640)
    found = regions(image, "native", COARSE, marked(100, np.s_[:4, -4:]))
    red = heat(image, found, COARSE)
    assert red[0, -1] > 30
    assert red[0, 0] == 0


@pytest.mark.parametrize("spec", ["native", "center:256", "tiles:200", "resize:256"])
def test_nothing_is_tinted_when_it_is_off_or_impossible(spec: str) -> None:
    image = noise(480, 640)
    hot = saying(image, regions=regions(image, spec, FINE, filled(50)))
    bare = [replace(region, evidence=Evidence(50.0)) for region in hot.regions]
    without_map = replace(hot, regions=tuple(bare))
    on, off = huds(FINE)
    plain = draw(without_map, off)
    assert changed(draw(hot, on), plain).any()
    np.testing.assert_array_equal(draw(hot, off), plain)
    np.testing.assert_array_equal(draw(hot, replace(on, patches=None)), plain)
    np.testing.assert_array_equal(draw(without_map, on), plain)
    silent, cold = (replace(each, verdict=Verdict("no_signal")) for each in (hot, without_map))
    np.testing.assert_array_equal(draw(silent, on), draw(cold, on))


@pytest.mark.parametrize("value", [-500.0, -1.0, 0.0, np.nan, np.inf, -np.inf])
def test_what_leans_real_or_says_nothing_is_left_as_it_is(value: float) -> None:
    assert not fine(filled(value)).any()


def test_the_calibration_decides_what_leans_fake() -> None:
    image = flat(480, 640)
    result = saying(image, "fake", 0.9, regions=regions(image, "native", FINE, filled(2.0)))
    plain = draw(result, huds(FINE)[1])
    for calibration, tinted in (
        (Calibration(), True),
        (Calibration(bias=3.0), False),
        (Calibration(threshold=0.95), False),
        (Calibration(temperature=0.1, threshold=0.95), True),
    ):
        hud = Hud(FINE, calibration)
        assert changed(draw(result, hud), plain).any() == tinted


def test_a_low_score_leaves_the_heat_visible_but_weak_and_none_in_full() -> None:
    weak, strong, unknown = (int(fine(filled(9.0), score=s).max()) for s in (0.02, 0.9, None))
    assert 10 < weak < 0.5 * strong
    assert unknown == strong


def test_the_tint_is_warm_and_lets_the_picture_through() -> None:
    dark, light = (
        draw(saying(image, regions=regions(image, "native", FINE, filled(50))), huds(FINE)[0])
        for image in (flat(480, 640, 0), flat(480, 640, 255))
    )
    for blue, green, red in (dark[200, 300], light[200, 300]):
        assert red > green > blue
    assert (light[200, 300].astype(int) - dark[200, 300] >= 0.43 * 255).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_patches_that_are_not_finite_are_no_evidence(bad: float) -> None:
    def mixed(number: int, shape: tuple[int, int]) -> FloatArray:
        logits = marked(10.0, LEFT, -10.0)(number, shape)
        logits[::3, ::2] = bad
        return logits

    red = fine(mixed)
    assert (red[:, :290] > 20).all()
    assert not red[:, 350:].any()


@pytest.mark.parametrize("spec", ["native", "tiles:200"])
def test_extreme_logits_do_not_overflow(spec: str) -> None:
    def extreme(number: int, shape: tuple[int, int]) -> FloatArray:
        return np.full(shape, 3e38 if number % 4 < 2 else -3e38, np.float32)

    red = fine(extreme, spec)
    assert (red[:, :390] > 5).all()
    assert spec == "native" or not red[:, 610:].any()


def test_where_nothing_was_seen_nothing_leans_fake() -> None:
    image = flat(480, 640)
    found = regions(image, "native", FINE, filled(np.nan))
    assert not heat(image, found, FINE, 0.9, Calibration(bias=-5.0)).any()


def test_a_restless_map_does_not_pretend_to_be_sure() -> None:
    image, sharp = flat(480, 640), Calibration(temperature=0.05)
    restless, even = (
        int(heat(image, regions(image, "native", FINE, patches), FINE, 0.9, sharp)[100, 100])
        for patches in (marked(3.0, LEFT, -3.0), filled(3.0))
    )
    assert 10 < restless < 0.7 * even


def test_it_shows_where_evidence_concentrates_not_single_patches() -> None:
    def scattered(_: int, shape: tuple[int, int]) -> FloatArray:
        draws = np.random.default_rng(0)
        logits: FloatArray = draws.normal(-4, 25, shape).astype(np.float32)
        logits[draws.random(shape) < 0.002] = 500
        logits[20:80, 200:260] += 20
        return logits

    red = fine(scattered)
    inside = np.zeros(red.shape, np.bool_)
    inside[50:150, 410:510] = True
    assert np.median(red[inside]) > 30
    assert np.median(red[~inside]) == 0
    assert (red[~inside] > 30).mean() < 0.1


def test_only_what_is_inside_a_region_and_the_frame_is_tinted() -> None:
    image = noise(480, 640)
    boxes = [(40, 30, 140, 130), (100, 60, 200, 160), (500, 20, 600, 120), (610, -50, 710, 50)]
    boxes += [(-500, 0, -400, 100), (300, 100, 300, 200)]
    logits = np.full(map_shape(FINE, (64, 64)), 50, np.float32)
    found = [Region(box, (64, 64), Evidence(50.0, logits)) for box in boxes]
    inside = np.zeros((480, 640), np.bool_)
    for left, top, right, bottom in boxes:
        inside[max(0, top) : bottom, max(0, left) : max(0, right)] = True
    result = saying(image, regions=found)
    tinted = changed(*(draw(result, hud) for hud in huds(FINE)))
    assert not tinted[~inside].any()
    assert tinted[inside].mean() > 0.99


@pytest.mark.parametrize("hw", [(480, 640), (471, 633), (150, 640)])
def test_tiles_show_one_even_map_without_seams(hw: tuple[int, int]) -> None:
    image = flat(*hw)
    found = regions(image, "tiles:128", FINE, filled(9.0))
    assert len(found) > 4
    red = heat(image, found, FINE, 0.9)[: hw[0] // 2]
    assert red.min() > 30
    assert np.ptp(red) <= 1


def test_heat_shows_on_a_picture_of_its_own_colour() -> None:
    image = flat(480, 640)
    image[:] = (20, 44, 255)
    spot = marked(30, np.s_[40:90, 150:250])
    result = saying(image, regions=regions(image, "native", FINE, spot))
    with_heat, without = (draw(result, hud).astype(int) for hud in huds(FINE))
    clear = np.abs(with_heat - without).max(2) > 100
    assert clear.sum() > 200
    clear[60:200, 270:530] = False
    assert not clear.any()


@pytest.mark.parametrize("hw", [(1, 1), (7, 9), (33, 500)])
def test_maps_of_a_patch_or_two_are_shown(hw: tuple[int, int]) -> None:
    image = flat(*hw)
    region = Region((0, 0, hw[1], hw[0]), hw, Evidence(50.0, np.full((1, 2), 50, np.float32)))
    picture = draw(saying(image, regions=[region]), huds(COARSE)[0])
    assert changed(picture, image).mean() > 0.5


@pytest.mark.parametrize(
    ("grid", "shape", "hw", "shown"),
    [
        (PatchGrid(receptive_field=7, stride=2, offset=-1), (119, 159), (241, 321), False),
        (PatchGrid(receptive_field=339, stride=16, offset=-154), (30, 40), (480, 640), True),
    ],
    ids=["one that pads the picture", "one that borders every layer"],
)
def test_patches_at_the_edge_count_only_where_the_network_has_learned_with_it(
    grid: PatchGrid, shape: tuple[int, int], hw: tuple[int, int], shown: bool
) -> None:
    patches = np.full(shape, -5.0, np.float32)
    patches[0] = 50.0
    region = Region((0, 0, hw[1], hw[0]), hw, Evidence(0.0, patches))
    red = heat(flat(*hw, 90), [region], grid, 0.5)
    assert red[4, hw[1] // 2].astype(bool) == shown
    assert not red[hw[0] // 2, hw[1] // 2]


def drawn(mean: float, deviation: float) -> Patches:
    """Two by two patches say the same, as wide patches do that see almost the same pixels."""

    def patches(number: int, shape: tuple[int, int]) -> FloatArray:
        half = (shape[0] // 2 + 1, shape[1] // 2 + 1)
        draws = np.random.default_rng(number).normal(mean, deviation, half)
        return np.kron(draws, np.ones((2, 2)))[: shape[0], : shape[1]].astype(np.float32)

    return patches


def test_a_single_patch_is_a_round_spot() -> None:
    image = flat(720, 1280, 0)
    found = regions(image, "center:512", WIDE, marked(50, np.s_[5, 8], -8.0))
    red = heat(image, found, WIDE, 0.05, SPREAD)
    x, y = 384 + int(8.5 * 32), 104 + int(5.5 * 32)
    steps = np.arange(40)
    aside = int((red[y, x + steps] > red[y, x] / 2).sum())
    across = int((red[y + steps, x + steps] > red[y, x] / 2).sum()) * np.sqrt(2)
    assert 12 < aside < 24
    assert across == pytest.approx(aside, rel=0.15)


@pytest.mark.parametrize("hw", [(720, 1280), (480, 640), (300, 900)])
def test_the_region_is_tinted_up_to_its_frame_and_not_beyond(hw: tuple[int, int]) -> None:
    image = noise(*hw)
    found = regions(image, "center:512", WIDE, drawn(60.0, 0.0))
    left, top, right, bottom = found[0].xyxy
    result = saying(image, "fake", 0.99, regions=found)
    shown, plain = (draw(result, hud) for hud in huds(WIDE, SPREAD))
    tinted, outlined = changed(shown, plain), changed(plain, image)
    # The line just inside the region's edge is drawn over the tint, and so is the panel.
    assert tinted[top + 3 : hw[0] // 2, left + 3 : right - 3].mean() > 0.98
    tinted[top:bottom, left:right] = False
    assert not tinted.any()
    assert outlined[hw[0] // 3, [left, right - 1]].all()
    assert not outlined[: hw[0] // 3, [left - 1, right]].any()


def shares(mean: float, deviation: float) -> tuple[float, float]:
    """Part of the region with any tint, and its strong tint as a part of the strongest there is."""
    found = regions(flat(720, 1280, 0), "center:512", WIDE, drawn(mean, deviation))
    red = heat(flat(720, 1280, 0), found, WIDE, 0.99, SPREAD)[:400]
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
    def red(factor: float, offset: float, temperature: float, bias: float) -> npt.NDArray[np.int64]:
        calibration = Calibration(temperature=temperature, bias=bias, threshold=0.75)
        found = regions(
            image, "center:512", WIDE, lambda *at: factor * drawn(6.0, 9.0)(*at) + offset
        )
        return heat(image, found, WIDE, 0.99, calibration)

    image = flat(720, 1280, 0)
    usual = red(1, 0, 5.5, -2.0)
    assert np.abs(usual - red(10, 7, 55.0, -13.0)).max() <= 2
    assert red(1, 0, 5.5, 20.0).sum() < 0.1 * usual.sum()


def clip_frame(hot: str, pts: float, source: str = "clip", state: str = "fake") -> Result:
    patches = np.full((118, 158), -4.0, np.float32)
    patches[:, : 60 if hot == "left" else 158][:, 0 if hot == "left" else 100 :] = 8.0
    region = Region((0, 0, 320, 240), (240, 320), Evidence(1.0, patches))
    frame = Frame(grey(90, 240, 320), 0, 0.0, source, pts)
    verdict = Verdict(state, 0.9)  # type: ignore[arg-type]  # one of the four
    return Result(frame, region.evidence, verdict, {}, (region,))


def paint(cache: HeatCache, item: Result, hud: Hud) -> Image:
    return draw(item, hud, cache.of(item, hud))


def test_a_heat_map_is_held_for_a_moment() -> None:
    cache = HeatCache()
    first = paint(cache, clip_frame("left", 0.0), HELD)
    np.testing.assert_array_equal(first, draw(clip_frame("left", 0.0), HELD))
    np.testing.assert_array_equal(paint(cache, clip_frame("right", HOLD_S * 0.9), HELD), first)
    later = clip_frame("right", HOLD_S * 1.1)
    np.testing.assert_array_equal(paint(cache, later, HELD), draw(later, HELD))


@pytest.mark.parametrize(
    "change",
    [
        lambda: (clip_frame("right", 0.01, source="other.png"), HELD),
        lambda: (clip_frame("right", -1.0), HELD),
        lambda: (clip_frame("right", 0.01), replace(HELD, heat_map=False)),
        lambda: (clip_frame("right", 0.01, state="no_signal"), HELD),
    ],
    ids=["another source", "a clock that jumps back", "switched off", "no signal"],
)
def test_a_heat_map_is_not_held_over_a_change(change) -> None:  # type: ignore[no-untyped-def]  # a lambda
    cache = HeatCache()
    paint(cache, clip_frame("left", 0.0), HELD)
    item, hud = change()
    np.testing.assert_array_equal(paint(cache, item, hud), draw(item, hud))
