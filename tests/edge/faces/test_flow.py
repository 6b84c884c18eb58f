from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.faces.boxes import as_rows
from edge.faces.flow import Flow
from edge.types import Box, Image
from tests.edge.faces.pictures import scene

FACE: Box = (261, 112, 366, 217)
"""The face of a head that `scene` puts at (200, 60)."""


def covered(image: Image, box: Box) -> Image:
    changed = image.copy()
    changed[box[1] : box[3], box[0] : box[2]] = (20, 200, 40)
    return changed


def test_the_flow_knows_when_it_knows_nothing() -> None:
    image = scene([(200, 60)])
    box = as_rows([FACE])
    for other, expected in (
        (image, True),
        (covered(image, FACE), False),
        (np.full_like(image, 128), False),
        (cv2.GaussianBlur(image, (0, 0), 30), False),
    ):
        flow = Flow()
        assert flow.holds_none
        flow.look(image)
        assert flow.is_cut  # there is nothing before it
        flow.look(np.asarray(other, np.uint8))
        moved, sure = flow.carry(box)
        assert list(sure) == [expected]
        np.testing.assert_allclose(moved, box, atol=0.5)


def test_light_is_no_cut_and_another_picture_is() -> None:
    flow = Flow()
    for image, cut in (
        (scene([(200, 60)]), True),
        (scene([(200, 60)], light=(0.6,)), False),
        (scene([(210, 60)]), False),
        (np.ascontiguousarray(scene([(10, 60)])[:, ::-1]), True),
    ):
        flow.look(image)
        assert flow.is_cut is cut


def test_nothing_is_made_of_what_opencv_leaves_of_points_it_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(*given: object, **_: object) -> tuple[object, ...]:
        count = len(given[2])  # type: ignore[arg-type]  # the points
        rest = np.full((count, 1), 0x7FA00000, np.uint32).view(np.float32)  # a signalling NaN
        return np.repeat(rest[..., None], 2, axis=2), np.zeros((count, 1), np.uint8), rest

    image = scene([(200, 60)])
    flow = Flow()
    flow.look(image)
    flow.look(image)
    monkeypatch.setattr(cv2, "calcOpticalFlowPyrLK", lost)
    box = as_rows([FACE])
    moved, sure = flow.carry(box)
    np.testing.assert_array_equal(moved, box)
    assert not sure.any()
