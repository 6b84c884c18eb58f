from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edge.manifest import Calibration
from edge.overlay import Hud, draw
from edge.overlay.boxes import draw_boxes, place_labels
from edge.overlay.geometry import common, is_empty
from edge.overlay.style import STATE_COLOURS, layout_for
from edge.types import Box, Evidence, Frame, Image, Region, Result, State, Verdict
from edge.words import NO_FACE, word_of

HW = (720, 1280)
HUD = Hud(None, Calibration(), history=((0.0, 0.5), (1.0, 0.6)))
STATES: Sequence[State] = ("fake", "real", "uncertain")


def grey(hw: tuple[int, int] = HW) -> Image:
    return np.full((*hw, 3), 120, np.uint8)


def face(box: Box, number: int = 1) -> Region:
    return Region(box, (64, 64), Evidence(1.0), Verdict(STATES[number % 3], number / 60), number)


def square(x: int, y: int, side: int) -> Box:
    return x, y, x + side, y + side


ONE = [face(square(480, 150, 320))]
THREE = [face(square(x, 240, 190), n) for n, x in enumerate((130, 550, 980), start=1)]
FIFTY = [face(square(20 + 128 * (n % 10), 22 + 144 * (n // 10), 92), n + 1) for n in range(50)]
DENSE = [face(square(8 + 126 * (n % 10), 8 + 142 * (n // 10), 122), n + 1) for n in range(50)]


def result(regions: Sequence[Region], image: Image | None = None) -> Result:
    frame = Frame(grey() if image is None else image, 0, 1000.0, "clip", pts=0.0)
    verdict = regions[0].verdict if regions else Verdict("uncertain")
    assert verdict is not None
    evidence = regions[0].evidence if regions else None
    return Result(frame, evidence, verdict, regions=tuple(regions), faces=len(regions))


def core(box: Box) -> Box:
    """The face in its square."""
    inset = round((box[2] - box[0]) * (1 - 1 / 1.3) / 2)
    return box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset


def part(picture: Image, box: Box) -> Image:
    return picture[box[1] : box[3], box[0] : box[2]]


@pytest.mark.parametrize("regions", [ONE, THREE, FIFTY, DENSE], ids=["1", "3", "50", "50 dense"])
def test_no_label_covers_a_face_or_another_label(regions: list[Region]) -> None:
    boxes = [box for _, box in place_labels(regions, HW, layout_for(*HW))]
    picture = grey()
    draw_boxes(picture, result(regions), layout_for(*HW))
    for i, (box, region) in enumerate(zip(boxes, regions, strict=True)):
        left, top, right, bottom = region.xyxy
        assert common(box, (0, 0, HW[1], HW[0])) == box
        assert all(is_empty(common(box, core(each.xyxy))) for each in regions)
        assert all(is_empty(common(box, other)) for other in boxes[:i])
        # It touches its own box, so that it is clear whose it is.
        assert not is_empty(common(box, (left - 1, top - 1, right + 1, bottom + 1)))
        assert (part(picture, core(region.xyxy))[4:-4, 4:-4] == 120).all()
        assert region.verdict is not None
        ends = np.concatenate(
            [picture[top : top + 4, left:right], picture[bottom - 4 : bottom, left:right]]
        )
        assert (ends == STATE_COLOURS[region.verdict.state]).all(2).sum() > 80


def test_a_label_says_as_much_as_there_is_room_for() -> None:
    layout = layout_for(*HW)
    roomy = [label for label, _ in place_labels(THREE, HW, layout)]
    assert [label.text for label in roomy] == [
        "#1 REAL fake 2 %",
        "#2 UNCERTAIN fake 3 %",
        "#3 FAKE fake 5 %",
    ]
    assert {label.size for label in roomy} == {layout.small}
    labels = [label for label, _ in place_labels(DENSE, HW, layout)]
    assert all(label.size >= 11 and label.marked for label in labels)
    assert all(label.text.startswith(f"#{n}") for n, label in enumerate(labels, start=1))
    assert any("UNCERTAIN" not in label.text and label.state == "uncertain" for label in labels)


@pytest.mark.parametrize(
    "box", [(0, 0, 1280, 720), (0, 0, 90, 90), (1200, 640, 1280, 720), (0, 300, 3, 303)]
)
def test_a_box_anywhere_gets_a_label_in_the_picture(box: Box) -> None:
    ((_, place),) = place_labels([face(box)], HW, layout_for(*HW))
    assert common(place, (0, 0, HW[1], HW[0])) == place


@pytest.mark.parametrize("hw", [HW, (120, 160)])
def test_without_a_face_the_panel_says_so(hw: tuple[int, int]) -> None:
    assert word_of(result([])) == NO_FACE
    nobody = draw(result([], grey(hw)), HUD)
    frame = Frame(grey(hw), 0, 1000.0, "clip", pts=0.0)
    unsure = draw(Result(frame, Evidence(0.0), Verdict("uncertain")), HUD)
    assert (nobody != unsure).any()
    assert (nobody == STATE_COLOURS["uncertain"]).all(2).sum() > 100


def test_the_panel_counts_faces() -> None:
    def panel(regions: list[Region]) -> Image:
        return draw(result(regions), HUD)[500:, :400]

    moved = [face(square(700, 150, 320))]
    np.testing.assert_array_equal(panel(ONE), panel(moved))
    two = [*ONE, face(square(900, 20, 100), 4)]
    assert (panel(ONE) != panel(two)).any()
