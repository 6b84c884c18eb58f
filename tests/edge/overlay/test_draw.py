"""The whole overlay: pure, of the right size, and saying all it should on every frame."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from edge.manifest import Calibration, PatchGrid
from edge.overlay import Hud, draw
from edge.overlay.style import STATE_COLOURS
from edge.overlay.text import text_width, wrapped
from edge.regions import cut, parse_region
from edge.types import Box, Evidence, Frame, Image, Region, Result, State, Verdict

STATES: tuple[State, ...] = get_args(State)
SIZES = [(1, 1), (15, 400), (16, 16), (200, 40), (40, 2000), (120, 160), (1920, 1080), (2160, 3840)]
HUD = Hud(PatchGrid(receptive_field=7, stride=2, offset=-1), Calibration(), heat_map=False)


def flat(height: int, width: int, value: int = 128) -> Image:
    return np.full((height, width, 3), value, np.uint8)


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saying(
    image: Image,
    state: State = "fake",
    score: float | None = 0.93,
    source: str = "camera 0",
    model_ms: float | None = 4.2,
    regions: Sequence[Region] = (),
    error: str | None = None,
    captured_at: float = 1.7e9,
) -> Result:
    return Result(
        Frame(image, 0, captured_at, source),
        None,
        Verdict(state, score),
        {} if model_ms is None else {"model": model_ms},
        tuple(regions),
        error,
    )


def history(*scores: float | None) -> tuple[tuple[float, float | None], ...]:
    return tuple((index / 4, score) for index, score in enumerate(scores))


def changed(one: Image, other: Image) -> npt.NDArray[np.bool_]:
    """Where two pictures differ, bool [H, W]."""
    different: npt.NDArray[np.bool_] = (one != other).any(2)
    return different


def native(image: Image, value: float) -> Region:
    height, width = image.shape[:2]
    patches = np.full((max(1, (height - 5) // 2), max(1, (width - 5) // 2)), value, np.float32)
    return Region((0, 0, width, height), (height, width), Evidence(value, patches))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_frame_gives_a_new_picture_of_its_size(height: int, width: int, state: State) -> None:
    image = noise(height, width)
    before = image.copy()
    hud = replace(HUD, heat_map=True, fps=29.8, history=history(0.1, None, 0.9))
    result = saying(image, state, regions=[native(image, 3.0)], error="it broke")
    picture = draw(result, hud)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    assert not np.shares_memory(picture, image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(draw(result, hud), picture)


def test_states_and_scores_look_different_and_the_lower_edge_has_the_colour_of_the_state() -> None:
    frame = flat(240, 320)
    pictures = [draw(saying(frame, state, 0.5), HUD) for state in STATES]
    for state, picture in zip(STATES, pictures, strict=True):
        assert (picture[-2:] == STATE_COLOURS[state]).all()
    pictures += [draw(saying(frame, "fake", score), HUD) for score in (0.93, 0.94, None)]
    for one, other in itertools.combinations(pictures, 2):
        assert changed(one[:-3], other[:-3]).any()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920), (1920, 1080)])
def test_everything_known_is_shown(height: int, width: int) -> None:
    bare = saying(flat(height, width), model_ms=None)
    strict = Calibration(threshold=0.7)
    known = [
        (bare, HUD),
        (replace(bare, frame=replace(bare.frame, source="camera 1")), HUD),
        (replace(bare, timings_ms={"model": 4.2}), HUD),
        (replace(bare, error="it broke"), HUD),
        (bare, replace(HUD, fps=30.0)),
        (bare, replace(HUD, history=history(0.2, 0.8))),
        (bare, replace(HUD, history=history(0.2, 0.3))),
        (bare, replace(HUD, history=history(0.2, 0.8), calibration=strict)),
    ]
    for one, other in itertools.combinations([draw(*each) for each in known], 2):
        assert changed(one, other).any()


@pytest.mark.parametrize(("height", "width"), [(240, 320), (720, 1280), (2160, 3840)])
def test_the_verdict_is_large(height: int, width: int) -> None:
    with_word = draw(saying(flat(height, width), "fake", None), HUD)
    badge = (with_word == STATE_COLOURS["fake"]).all(2)[: -height // 50]
    columns = np.flatnonzero(badge.any(0))
    rows = np.flatnonzero(badge.any(1))
    assert rows[-1] - rows[0] > 0.08 * height
    assert columns[-1] - columns[0] > 0.25 * min(height, width)
    ink = ~badge[rows[0] : rows[-1], columns[0] : columns[-1]]
    word = ink[:, ink.shape[1] // 4 : ink.shape[1] // 2]
    letters = np.flatnonzero(word.any(1))
    assert letters[-1] - letters[0] > 0.035 * height


@pytest.mark.parametrize(("height", "width"), [(240, 320), (720, 1280), (1920, 1080)])
def test_the_middle_of_the_picture_stays_free(height: int, width: int) -> None:
    frame = noise(height, width)
    hud = replace(HUD, fps=30.0, history=history(0.1, 0.9))
    picture = draw(saying(frame, source="/a/long/caf\udcff\n猫" * 20, error="it broke"), hud)
    thirds = np.s_[height // 3 : height * 11 // 20, :]
    np.testing.assert_array_equal(picture[thirds], frame[thirds])
    right = np.s_[height // 3 : -height // 50, width * 6 // 10 :]
    np.testing.assert_array_equal(picture[right], frame[right])


@pytest.mark.parametrize(
    "scores",
    [[None, None], [0.5], [None, 0.5, None], [float("nan"), 0.4, 2.0, -1.0], [0.5] * 5000],
)
def test_any_history_can_be_drawn(scores: list[float | None]) -> None:
    frame = flat(240, 320)
    picture = draw(saying(frame), replace(HUD, history=history(*scores)))
    np.testing.assert_array_equal(picture[:100], frame[:100])


def leaning(picture: Image, state: State) -> npt.NDArray[np.bool_]:
    """Where a picture is clearly more red than blue (fake) or the other way round, bool [H, W]."""
    redness = picture[..., 2].astype(int) - picture[..., 0]
    return redness > 60 if state == "fake" else redness < -60


@pytest.mark.parametrize(
    ("score", "state", "other"), [(0.9, "fake", "real"), (0.1, "real", "fake")]
)
def test_the_history_has_the_colour_of_its_side(score: float, state: State, other: State) -> None:
    hud = replace(HUD, history=history(*[score] * 60))
    picture = draw(saying(flat(480, 640, 0), other, 0.5), hud)
    assert leaning(picture, state).any(0).sum() > 140


NOTICE_SIZES = [(120, 160), (240, 320), (640, 360), (2160, 3840)]
REASON = "no answer within 10 s. Check that the camera runs and that its address is right."


def silent(image: Image, error: str | None, source: str = "rtsp://cam/1") -> Image:
    return draw(saying(image, "no_signal", None, source, error=error), HUD)


@pytest.mark.parametrize(("height", "width"), NOTICE_SIZES)
@pytest.mark.parametrize("grey", [0, 255])
def test_the_reason_stands_in_the_middle_at_any_size(height: int, width: int, grey: int) -> None:
    frame = flat(height, width, grey)
    picture = silent(frame, f"rtsp://cam/1: {REASON}")
    assert changed(picture, silent(frame, None)).any()
    assert changed(picture, silent(frame, "the camera has no such stream.")).any()
    assert changed(picture, silent(frame, f"rtsp://cam/1: {REASON}", "camera 1")).any()
    # Not along the upper edge too, as an error beside a verdict is; and nothing is cut off.
    assert not (picture == STATE_COLOURS["uncertain"]).all(2).any()
    inside = ~(picture[: -height // 50] == picture[0, 0]).all(2)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert rows[0] >= 2 and columns[0] >= 2 and columns[-1] < width - 2
    assert abs(columns[0] + columns[-1] - width) < 0.05 * width


def test_the_name_of_the_source_is_not_said_twice() -> None:
    frame = flat(240, 320)
    for error, same in (
        ("rtsp://cam/1: no answer.", "No answer."),
        ("rtsp://cam/1 cannot be opened.", "Cannot be opened."),
    ):
        np.testing.assert_array_equal(silent(frame, error), silent(frame, same))
    inside = "there is no stream at rtsp://cam/1, says the camera."
    np.testing.assert_array_equal(silent(frame, inside), silent(frame, inside, ""))
    for other in ("rtsp://cam/11: no answer.", "http://rtsp://cam/1/2 is no stream."):
        assert changed(silent(frame, other), silent(frame, other, "")).any()


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("width", [30, 150, 400, 5000])
def test_a_text_is_broken_between_words_and_keeps_its_end(width: int, most: int) -> None:
    text = f"rtsp://10.0.0.7:554/a/long/address: {REASON}"
    lines = wrapped(text, 11, width, most)
    assert 1 <= len(lines) <= most
    assert all(text_width(line, 11) <= width for line in lines)
    assert lines[-1].endswith("ght.") or width == 30
    if "…" not in "".join(lines):
        assert " ".join(lines) == text
    assert wrapped("", 11, width, most) == ()


def region_results(image: Image, spec: str) -> Result:
    crops = cut(image, parse_region(spec))
    regions = [Region(crop.xyxy, crop.image.shape[:2], Evidence(0.0)) for crop in crops]
    return saying(image, regions=regions)


def test_only_a_lone_part_of_the_frame_is_outlined() -> None:
    frame = flat(480, 640)
    bare = draw(saying(frame), HUD)
    for spec in ("native", "resize:64", "tiles:128"):
        np.testing.assert_array_equal(draw(region_results(frame, spec), HUD)[:250], bare[:250])
    outlined = changed(draw(region_results(frame, "center:128"), HUD), bare)
    outlined[310:] = False  # the panel, which names the area
    for edge in (outlined[176, 256:384], outlined[303, 256:384], outlined[176:304, [256, 383]]):
        assert edge.all()
    outlined[176:304, 256:384][[0, 1, 2, -3, -2, -1]] = False
    outlined[176:304, 256:384][:, [0, 1, 2, -3, -2, -1]] = False
    assert not outlined.any()


def test_regions_judged_apart_get_a_box_and_a_label_in_their_colour() -> None:
    frame = flat(480, 640)
    boxes: list[Box] = [(300, 100, 400, 200), (450, 0, 640, 150), (600, 300, 700, 400)]
    states: list[State] = ["fake", "real", "no_signal"]
    regions = [
        Region(box, (64, 64), Evidence(0.0), None if state == "no_signal" else Verdict(state), i)
        for i, (box, state) in enumerate(zip(boxes, states, strict=True))
    ]
    picture = draw(saying(frame, "uncertain", 0.5, regions=regions), HUD)
    for (left, top, right, bottom), state in zip(boxes, states, strict=True):
        part = picture[max(0, top - 40) : bottom, left:right]
        assert (part == STATE_COLOURS[state]).all(2).sum() > 200
    np.testing.assert_array_equal(picture[120:180, 320:380], frame[120:180, 320:380])
