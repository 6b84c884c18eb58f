"""Many cameras in one picture: where they go, and what is written on each at its size."""

from __future__ import annotations

import gc
import itertools
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.manifest import Calibration, PatchGrid
from edge.overlay import Hud, draw
from edge.overlay import grid as module
from edge.overlay.grid import GROUND, Cell, Grid, arrange
from edge.overlay.painter import draw_words, scaled
from edge.overlay.style import STATE_COLOURS
from edge.pixels import to_bgr
from edge.regions import parse_region, place
from edge.types import Box, Evidence, Frame, Image, Region, Result, State, Verdict
from tests.edge.overlay.test_draw import changed

HUD = Hud(PatchGrid(receptive_field=15, stride=4), Calibration(), ((0.0, 0.2), (1.0, 0.8)), 25.0)
WIDE, TALL, OLD = (720, 1280), (1280, 720), (480, 640)


def smooth(height: int, width: int) -> Image:
    """A picture without detail that a change of size would lose."""
    rows, columns = np.mgrid[:height, :width]
    levels = np.stack([60 + 80 * rows / height, 90 + 60 * columns / width, 0 * rows + 70], axis=2)
    return levels.astype(np.uint8)


def result(
    size_hw: tuple[int, int] = WIDE,
    state: State = "real",
    spec: str = "native",
    source: str = "camera",
    error: str | None = None,
) -> Result:
    """A frame whose right half leans fake in all of its regions."""
    height, width = size_hw
    boxes, input_hw = place(height, width, parse_region(spec))
    regions = tuple(Region(box, input_hw, _evidence(box, input_hw, width)) for box in boxes)
    frame = Frame(smooth(height, width), 3, 1.7e9, source)
    frame.image.setflags(write=False)  # frames are left as they are
    score = None if state == "no_signal" else 0.6
    return Result(frame, Evidence(1.0), Verdict(state, score), {}, regions, error)


def _evidence(box: Box, input_hw: tuple[int, int], width: int) -> Evidence:
    h, w = ((side - 15) // 4 + 1 for side in input_hw)
    centres = box[0] + (np.arange(w) * 4 + 7) * (box[2] - box[0]) / input_hw[1]
    hot = np.where(centres > 0.55 * width, 6.0, -6.0)
    return Evidence(1.0, np.tile(hot.astype(np.float32), (h, 1)))


def cell(name: str, *args: object, **options: object) -> Cell:
    return Cell(name, result(*args, **options), HUD)  # type: ignore[arg-type]  # passed on


def cells(count: int) -> list[Cell]:
    return [cell(f"camera {number}") for number in range(count)]


def columns_of(boxes: tuple[Box, ...]) -> int:
    return sum(box[1] == boxes[0][1] for box in boxes)


sides = st.integers(1, 5000)


@settings(deadline=None)
@given(st.lists(st.tuples(sides, sides), max_size=20), sides, sides)
def test_cells_are_alike_inside_apart_and_in_order(
    sizes_hw: list[tuple[int, int]], width: int, height: int
) -> None:
    boxes = arrange(sizes_hw, (width, height))
    assert len(boxes) == len(sizes_hw)
    assert len({(box[2] - box[0], box[3] - box[1]) for box in boxes}) <= 1
    for left, top, right, bottom in boxes:
        assert 0 <= left <= right <= width and 0 <= top <= bottom <= height
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or one[3] <= other[1]


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (8, 3), (9, 3), (12, 4), (16, 4)]
)
def test_pictures_of_a_screens_proportions_make_a_square(count: int, columns: int) -> None:
    boxes = arrange([WIDE] * count, (1600, 900))
    assert columns_of(boxes) == columns
    used = sum((box[2] - box[0]) * (box[3] - box[1]) for box in boxes)
    assert used > 0.95 * 1600 * 900 * count / columns**2
    # A last row that is not full stands in the middle.
    last = [box for box in boxes if box[1] == boxes[-1][1]]
    assert last[0][0] == 1600 - last[-1][2]


@pytest.mark.parametrize("size_hw", [WIDE, TALL, OLD, (97, 131)])
def test_one_camera_at_its_own_size_is_its_picture(size_hw: tuple[int, int]) -> None:
    only = cell("door", size_hw, "fake")
    assert only.result is not None
    picture = Grid().compose([only], (size_hw[1], size_hw[0]))
    np.testing.assert_array_equal(picture, draw(only.result, HUD))


def differing(one: Image, other: Image) -> float:
    """Share of the pixels that differ clearly."""
    return float((np.abs(one.astype(int) - other.astype(int)).max(2) > 10).mean())


@pytest.mark.parametrize("spec", ["native", "tiles:128", "tiles:224", "center:512", "resize:100"])
def test_what_belongs_to_a_place_in_the_frame_stays_there(spec: str) -> None:
    whole = result(WIDE, "fake", spec)
    height, width = 296, 526
    expected = np.empty((height, width, 3), np.uint8)
    cv2.resize(draw(whole, HUD), (width, height), dst=expected, interpolation=cv2.INTER_AREA)
    picture = Grid().compose([Cell("door", whole, HUD)], (width, height))
    bare = scaled(whole, height, width).frame.image
    upper = np.s_[: height // 2]
    assert differing(expected[upper], bare[upper]) > 0.1
    # What remains are thin lines, which shrinking would have made faint.
    assert differing(picture[upper], expected[upper]) < 0.03


def test_becoming_smaller_averages() -> None:
    stripes = np.zeros((700, 1100, 3), np.uint8)
    stripes[::2] = 255
    whole = replace(result((700, 1100)), frame=Frame(stripes, 0, 0.0, ""))
    small = scaled(whole, 90, 141).frame.image
    assert np.abs(small.astype(int) - 128).max() <= 3
    assert scaled(whole, 1400, 2200).frame.image.shape == (1400, 2200, 3)
    assert scaled(whole, 700, 1100).frame is whole.frame


def test_a_frame_as_decoders_give_it_becomes_bgr() -> None:
    nv12 = np.random.default_rng(0).integers(16, 235, (540, 640), np.uint8)
    frame = Frame(nv12, 0, 0.0, "", pixel_format="nv12")
    shown = Cell("door", replace(result((360, 640)), frame=frame), HUD)
    assert shown.size_hw == (360, 640)
    bgr = replace(result((360, 640)), frame=Frame(to_bgr(nv12, "nv12"), 0, 0.0, ""))
    expected = Grid().compose([Cell("door", bgr, HUD)], (640, 360))
    np.testing.assert_array_equal(Grid().compose([shown], (640, 360)), expected)


@pytest.mark.parametrize("size_wh", [(1, 1), (7, 5), (40, 30), (200, 90), (1600, 900)])
@pytest.mark.parametrize("count", [0, 1, 7, 30])
def test_any_number_of_cameras_at_any_size(size_wh: tuple[int, int], count: int) -> None:
    states: list[State] = ["real", "fake", "no_signal", "uncertain"]
    shapes = [WIDE, TALL, OLD, (20, 3000), (16, 16)]
    shown = [
        cell(f"camera {n}", shapes[n % 5], states[n % 4], error="it broke" if n % 3 else None)
        for n in range(count)
    ]
    shown += [Cell("waiting")] * bool(count)
    picture = Grid().compose(shown, size_wh)
    assert picture.shape == (size_wh[1], size_wh[0], 3) and picture.dtype == np.uint8
    if not count:
        assert (picture == GROUND).all()


def test_each_is_called_by_its_name_and_not_by_that_of_its_source() -> None:
    def picture(*shown: Cell) -> Image:
        return Grid().compose(shown, (1600, 900))

    pair = cell("door"), cell("yard")
    assert changed(picture(*pair), picture(cell("gate"), pair[1])).any()
    for state in ("real", "no_signal"):
        error = "elsewhere: nothing comes." if state == "no_signal" else None
        named = cell("door", WIDE, state, source="elsewhere", error=error)
        other = cell("door", WIDE, state, source="", error=error and "Nothing comes.")
        np.testing.assert_array_equal(picture(named, pair[1]), picture(other, pair[1]))


def test_the_first_nine_cameras_show_their_keys() -> None:
    shown = [Cell(f"camera {number}") for number in range(12)]
    labels = [module.label_of(shown, index) for index in range(12)]
    assert labels[0] == "1  camera 0" and labels[8] == "9  camera 8"
    assert labels[9:] == ["camera 9", "camera 10", "camera 11"]
    assert module.label_of(shown[:1], 0) == ""
    assert module.label_of([Cell("Küche 🐈"), Cell("b")], 0) == "1  Kuche ?"


def test_an_error_leaves_the_name_legible() -> None:
    def first(error: str | None) -> Image:
        return Grid().compose([cell("door", error=error), *cells(3)], (1600, 900))[:450, :800]

    different = changed(first(None), first("the frame is too small for the model."))
    rows = np.flatnonzero(different.any(1))
    assert 25 < rows[0] < 80
    assert rows[-1] < 200


def test_only_a_fake_among_others_has_a_rim() -> None:
    colour = STATE_COLOURS["fake"]
    shown = [cell("door", WIDE, "fake"), *cells(3)]
    grid = Grid()
    picture = grid.compose(shown, (1600, 900))
    left, top, right, bottom = arrange([WIDE] * 4, (1600, 900))[0]
    card = picture[top:bottom, left:right]
    for edge in (card[0], card[-1], card[:, 0], card[:, -1]):
        assert (edge == colour).all()
    assert not (picture[top, right:] == colour).all(1).any()
    alone = grid.compose(shown, (1600, 900), selected=0)
    assert not (alone[:-20, :5] == colour).all(2).any()


def test_the_selected_camera_has_all_the_room() -> None:
    shown = [cell("door", WIDE), cell("yard", WIDE, "fake"), Cell("gate")]
    grid = Grid()
    alone = grid.compose(shown, (1280, 720), selected=1)
    assert differing(alone[:360], Grid().compose([shown[1]], (1280, 720))[:360]) < 0.02
    assert [grid.cell_at(x, y) for x, y in ((0, 0), (1279, 719))] == [1, 1]


def test_a_point_belongs_to_the_cell_that_holds_it() -> None:
    grid = Grid()
    assert grid.cell_at(0, 0) is None
    shown = cells(5)
    grid.compose(shown, (1600, 900))
    for index, (left, top, right, bottom) in enumerate(arrange([WIDE] * 5, (1600, 900))):
        assert grid.cell_at(left, top) == grid.cell_at(right - 1, bottom - 1) == index
    assert grid.cell_at(5, 899) is None


def test_only_what_has_changed_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def counted(
        picture: Image, shown: Result, hud: Hud, label: str = "", heated: bool = False
    ) -> None:
        drawn.append(label)
        draw_words(picture, shown, hud, label)

    monkeypatch.setattr(module, "draw_words", counted)
    grid, shown = Grid(), cells(3)
    first = grid.compose(shown, (800, 600))
    assert len(drawn) == 3
    np.testing.assert_array_equal(grid.compose(shown, (800, 600)), first)
    assert len(drawn) == 3
    shown[1] = cell("camera 1", WIDE, "fake")
    assert changed(grid.compose(shown, (800, 600)), first).any()
    assert drawn[3:] == ["2  camera 1"]
    cold = [replace(one, hud=replace(HUD, heat_map=False)) for one in shown]
    assert changed(grid.compose(cold, (800, 600)), first).any()
    grid.compose(cold, (801, 600))
    assert len(drawn) > 7


def test_a_camera_that_left_is_forgotten() -> None:
    grid, shown = Grid(), cells(2)
    assert shown[1].result is not None
    image = weakref.ref(shown[1].result.frame.image)
    grid.compose(shown, (800, 600))
    del shown[1]
    grid.compose(shown, (800, 600))
    gc.collect()
    assert image() is None
