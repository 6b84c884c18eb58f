from __future__ import annotations

import numpy as np
import pytest

from edge.manifest import Calibration, PatchGrid
from edge.overlay import Hud, Painter, draw
from edge.overlay.painter import HOLD_S
from edge.types import Evidence, Frame, Image, Region, Result, Verdict
from tests.fakes import grey

HUD = Hud(PatchGrid(receptive_field=5, stride=2), Calibration())


def result(hot: str, pts: float, source: str = "clip", state: str = "fake") -> Result:
    patches = np.full((118, 158), -4.0, np.float32)
    patches[:, : 60 if hot == "left" else 158][:, 0 if hot == "left" else 100 :] = 8.0
    region = Region((0, 0, 320, 240), (240, 320), Evidence(1.0, patches))
    frame = Frame(grey(90, 240, 320), 0, 0.0, source, pts)
    verdict = Verdict(state, 0.9)  # type: ignore[arg-type]  # one of the four
    return Result(frame, region.evidence, verdict, {}, (region,))


def same(one: Image, other: Image) -> bool:
    return np.array_equal(one, other)


def test_a_heat_map_is_held_for_a_moment_and_then_made_anew() -> None:
    painter = Painter()
    first = painter.paint(result("left", 0.0), HUD)
    assert same(first, draw(result("left", 0.0), HUD))
    held = painter.paint(result("right", HOLD_S * 0.9), HUD)
    assert same(held, first)
    assert same(painter.paint(result("right", HOLD_S * 1.1), HUD), draw(result("right", 0.2), HUD))


@pytest.mark.parametrize(
    "change",
    [
        lambda: (result("right", 0.01, source="other.png"), HUD),
        lambda: (result("right", -1.0), HUD),
        lambda: (result("right", 0.01), Hud(HUD.patches, Calibration(), heat_map=False)),
        lambda: (result("right", 0.01, state="no_signal"), HUD),
    ],
    ids=["another source", "a clock that jumps back", "switched off", "no signal"],
)
def test_a_heat_map_is_not_held_over_a_change(change) -> None:  # type: ignore[no-untyped-def]  # a lambda
    painter = Painter()
    painter.paint(result("left", 0.0), HUD)
    item, hud = change()
    assert same(painter.paint(item, hud), draw(item, hud))
