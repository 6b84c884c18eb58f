from __future__ import annotations

import pytest

from edge.errors import UsageError
from edge.regions import parse_region, place
from edge.tensorrt.record import Shape
from export.engine.command import shape_of
from tests.fakes import make_manifest


@pytest.mark.parametrize(
    ("region", "static", "hw"),
    [
        ("center:512", None, (512, 512)),
        ("fit:384", None, (384, 683)),
        ("fit:384", (1, 384, 512), (384, 512)),
        ("native", (1, 1080, 1920), (1080, 1920)),
    ],
)
def test_an_engine_is_built_for_the_region_or_for_what_was_asked_for(
    region: str, static: tuple[int, int, int] | None, hw: tuple[int, int]
) -> None:
    assert shape_of(make_manifest(region=region), static) == Shape(
        batch=1, height=hw[0], width=hw[1]
    )


@pytest.mark.parametrize("frame_hw", [(720, 1280), (1080, 1920), (2160, 3840)])
def test_every_camera_of_16_to_9_takes_the_same_engine(frame_hw: tuple[int, int]) -> None:
    shape = shape_of(make_manifest(region="fit:384"), None)
    assert place(*frame_hw, parse_region("fit:384"))[1] == (shape.height, shape.width)


def test_a_model_of_whole_frames_needs_a_size() -> None:
    with pytest.raises(UsageError, match="--static 1x1080x1920"):
        shape_of(make_manifest(region="native"), None)
