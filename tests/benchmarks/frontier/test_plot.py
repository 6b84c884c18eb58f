from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.frontier.record import Point
from tests.benchmarks.frontier.made import frontier, point

pytest.importorskip("matplotlib")

from benchmarks.frontier.plot import draw, plot_svg
from benchmarks.frontier.themes import DARK

POINTS = (
    point("tiny-ladeda", 1.5, 0.69, 0.66),
    point("lite", 3.8, 0.93, 0.9),
    point("lite & $top$", 3.8, 0.91, 0.83),
    point("large", 154.0, 0.85, 0.75),
)


def texts(svg: bytes) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]


def test_names_axes_legend_and_the_budget_are_text() -> None:
    found = texts(plot_svg(frontier(*POINTS, point("uncounted", None))))
    for text in (*(p.name for p in POINTS), "untouched", "mean of compressed", "20 GFLOP"):
        assert text in found
    assert "uncounted" not in found
    assert any("GFLOP of one frame" in text and "side by side" in text for text in found)
    assert "mean AUC over generators" in found and "100" in found


def test_names_and_marks_stand_apart() -> None:
    figure = draw(frontier(*POINTS))
    names = {p.name for p in POINTS} | {"20 GFLOP"}
    boxes = [t.get_window_extent() for t in figure.axes[0].texts if t.get_text() in names]
    assert len(boxes) == len(names)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_marks_stay_on_their_side_of_the_budget() -> None:
    figure = draw(frontier(point("below", 19.9), point("also", 19.8), point("above", 20.1)))
    # Whiskers are collections too; theirs is the one offset at 0.
    offsets = [np.asarray(c.get_offsets())[:, 0] for c in figure.axes[0].collections]
    marks = [float(x) for x in np.concatenate(offsets) if x > 1]
    assert sum(value < 20 for value in marks) == 4 and sum(value > 20 for value in marks) == 2


def test_dark_colours_stand_in_a_rule_of_their_own() -> None:
    svg = plot_svg(frontier(*POINTS)).decode()
    rules, _, body = svg.partition("</style>")
    assert "@media (prefers-color-scheme: dark)" in rules
    for light, dark in DARK.items():
        assert dark in rules and dark not in body
        assert re.search(f"(fill|stroke): {light.lower()}", body), light


def test_the_same_figures_give_the_same_picture() -> None:
    assert plot_svg(frontier(*POINTS)) == plot_svg(frontier(*POINTS))


@pytest.mark.parametrize("points", [(), (point("uncounted", None),), POINTS[:1]])
def test_few_models_can_be_drawn(points: tuple[Point, ...]) -> None:
    assert "20 GFLOP" in texts(plot_svg(frontier(*points)))


def test_a_model_whose_auc_is_not_defined_has_no_marks() -> None:
    bare = POINTS[0].model_copy(update={"auc": {"untouched": None}, "name": "bare"})
    found = texts(plot_svg(frontier(bare, POINTS[1])))
    assert "bare" not in found and "lite" in found
