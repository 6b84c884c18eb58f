from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.live.views import Controls
from edge.live.window import WindowView
from edge.overlay import draw
from edge.overlay.grid import Grid
from tests.edge.live.desktop import Window, desktop, running
from tests.edge.live.window_driver import COLOURS, HUGE_HW, SIZES_HW, SWAPPED, TITLE, cell
from tests.xvfb import press_close_button

PAUSED = f"{TITLE} (paused)"


@pytest.fixture(scope="module")
def screen() -> Iterator[dict[str, str]]:
    with desktop() as environment:
        yield environment


@contextmanager
def window(
    screen: dict[str, str], folder: Path, cameras: int = 4, mode: str = "live"
) -> Iterator[Window]:
    """Start the driver, wait until its window is there, and end it at last."""
    module = "tests.edge.live.window_driver"
    with running(screen, folder, module, TITLE, [str(cameras), mode]) as shown:
        shown.wait_until_shown()
        shown.wait_until_painted()
        yield shown


def pixels(shown: Window) -> list[int]:
    """How many pixels of the screen have each camera's colour."""
    picture = one_number(shown.seen())
    return [int((picture == one_number(np.array(colour))).sum()) for colour in COLOURS]


def one_number(bgr: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Colours that are compared at once."""
    return bgr.astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def wait_for_all(shown: Window, cameras: int = 4) -> None:
    shown.wait_for(lambda: all(pixels(shown)[:cameras]), "all cameras")


def wait_for_one(shown: Window, camera: int) -> None:
    def alone() -> bool:
        counts = pixels(shown)
        return counts.pop(camera) > 0 and not any(counts)

    shown.wait_for(alone, f"camera {camera + 1} alone")


def test_what_is_shown_is_the_grid_at_the_size_of_the_window(
    screen: dict[str, str], tmp_path: Path
) -> None:
    cells = [cell(camera) for camera in range(4)]
    with window(screen, tmp_path) as shown:
        wait_for_all(shown)
        first = shown.seen()
        shown.xdotool("windowsize", shown.ids()[-1], "900", "500")
        expected = Grid().compose(cells, (900, 500))
        shown.wait_for(
            lambda: np.array_equal(shown.seen()[:500, :900], expected), "the grid at its new size"
        )
        press_close_button(screen["DISPLAY"], int(shown.ids()[-1]))
        shown.assert_clean_end()
    assert first[720:].max() == 0 and first[:, 1280:].max() == 0, "larger than it should open"


def test_one_camera_is_its_picture(screen: dict[str, str], tmp_path: Path) -> None:
    height, width = SIZES_HW[0]
    result, hud = cell(0).result, cell(0).hud
    assert result is not None and hud is not None
    picture = draw(result, hud)

    def is_shown() -> bool:
        return np.array_equal(shown.seen()[:height, :width], picture)

    with window(screen, tmp_path, 1) as shown:
        shown.wait_for(is_shown, "the picture itself")
        shown.press("1")
        click(shown, 100, 100)
        count = len(shown.lines())
        shown.wait_for(lambda: len(shown.lines()) > count + 5, "going on")
        assert is_shown()


def test_digits_and_clicks_enlarge_a_camera_and_go_back(
    screen: dict[str, str], tmp_path: Path
) -> None:
    with window(screen, tmp_path) as shown:
        for key, camera, back in (("2", 1, "0"), ("4", 3, "4")):
            shown.press(key)
            wait_for_one(shown, camera)
            shown.press(back)
            wait_for_all(shown)
        shown.press("3")
        wait_for_one(shown, 2)
        shown.press("9")  # there is none
        shown.press("1")
        wait_for_one(shown, 0)
        click(shown, 100, 100)
        wait_for_all(shown)
        click(shown, 100, 100)
        wait_for_one(shown, 0)
        shown.press("2")
        wait_for_one(shown, 1)
        (tmp_path / "leave").touch()  # and the others are shown
        shown.wait_for(lambda: [n > 0 for n in pixels(shown)] == [True, False, True, True], "them")
        shown.press("2")
        wait_for_one(shown, 2)


def click(shown: Window, x: int, y: int) -> None:
    shown.xdotool("mousemove", "--window", shown.ids()[-1], str(x), str(y), "click", "1")


def test_a_pause_holds_what_is_shown_and_keys_go_on(screen: dict[str, str], tmp_path: Path) -> None:
    def swapped() -> bool:
        return bool((shown.seen() == SWAPPED).all(2).any())

    with window(screen, tmp_path) as shown:
        wait_for_all(shown)
        shown.press("space")
        shown.wait_for(lambda: shown.ids(PAUSED), "the pause")
        (tmp_path / "swap").touch()
        count = len(shown.lines())
        shown.wait_for(lambda: len(shown.lines()) > count + 10, "the run going on")
        shown.press("1", PAUSED)
        wait_for_one(shown, 0)
        assert not swapped()
        shown.press("space", PAUSED)
        shown.wait_for(swapped, "the newest picture")
        shown.press("space")
        shown.wait_for(lambda: shown.ids(PAUSED), "the pause")
        shown.press("Escape", PAUSED)
        shown.assert_clean_end()


def test_a_snapshot_holds_each_camera_in_its_own_size(
    screen: dict[str, str], tmp_path: Path
) -> None:
    with window(screen, tmp_path, mode="idle") as shown:
        shown.press("s")
        shown.wait_for(lambda: "4 snapshots saved: " in shown.notes(), "the snapshots")
        saved = sorted(shown.snapshots.iterdir())
        shown.press("3")
        wait_for_one(shown, 2)
        shown.press("s")
        shown.wait_for(lambda: "Snapshot saved: " in shown.notes(), "another snapshot")
        shown.press("q")
        shown.assert_clean_end()
    stems = [re.sub(r"_\d{8}-\d{6}_000000\.png$", "", path.name) for path in saved]
    assert stems == ["10.0.0.7-554-lobby", "front.door", "front.yard", "garage"]
    for path, camera in zip(saved, (2, 0, 1, 3), strict=True):
        picture, result, hud = cv2.imread(str(path)), cell(camera).result, cell(camera).hud
        assert picture is not None and result is not None and hud is not None
        np.testing.assert_array_equal(picture, draw(result, hud))
    assert re.search(rf"{re.escape(str(shown.snapshots))}/10\.0\.0\.7-554-lobby_", shown.notes())


def test_keys_are_answered_quickly(screen: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "snapshots").touch()
    with window(screen, tmp_path, mode="idle") as shown:
        shown.press("s")  # what cannot be saved ends nothing
        shown.wait_for(lambda: "WARNING No snapshot: " in shown.notes(), "a warning")
        shown.wait_for(lambda: len(shown.lines()) > 50, "fifty turns")
        shown.press("h")
        shown.wait_for(lambda: shown.lines()[-1].split()[1] == "False", "no heat map")
        waits_ms = [float(line.split()[2]) for line in shown.lines()[1:]]
        shown.press("q")
        shown.assert_clean_end()
    # What takes longer on a busy machine is not a wait of ours, which would be there every time.
    assert min(waits_ms) < 10 and "Traceback" not in shown.notes()


def test_a_recording_stops_in_a_pause_and_answers_keys(
    screen: dict[str, str], tmp_path: Path
) -> None:
    with window(screen, tmp_path, 1, "recording") as shown:
        shown.press("h")
        shown.wait_for(lambda: shown.lines()[-1].split()[1] == "False", "no heat map")
        for key in ("Left", "Up", "Right", "Down"):
            shown.press(key)
        shown.press("space")
        shown.wait_for(lambda: shown.ids(PAUSED), "the pause")
        count = len(shown.lines())
        time.sleep(0.3)
        assert len(shown.lines()) == count
        shown.press("s", PAUSED)
        shown.wait_for(lambda: "Snapshot saved" in shown.notes(), "a snapshot")
        shown.press("space", PAUSED)
        shown.wait_for(lambda: len(shown.lines()) > count + 3, "going on")
        shown.press("space")
        shown.wait_for(lambda: shown.ids(PAUSED), "the pause")
        shown.press("Escape", PAUSED)
        shown.assert_clean_end()
    (snapshot,) = shown.snapshots.iterdir()
    assert re.fullmatch(r"front_\d{8}-\d{6}_\d{6}\.png", snapshot.name)
    assert shown.notes().splitlines() == [f"INFO Snapshot saved: {snapshot}"]


def test_a_huge_frame_fits_and_is_seen(screen: dict[str, str], tmp_path: Path) -> None:
    with window(screen, tmp_path, 1, "huge") as shown:
        geometry = shown.xdotool("getwindowgeometry", "--shell", shown.ids()[-1])
        shown.wait_for(lambda: pixels(shown)[0] > 0.8 * 1280 * 720, "a picture that fills it")
        assert HUGE_HW[0] > shown.seen().shape[0]
    assert "WIDTH=1280" in geometry and "HEIGHT=720" in geometry


def test_pictures_that_stand_alone_stay_long_enough_to_be_seen(
    screen: dict[str, str], tmp_path: Path
) -> None:
    arguments = ["1", "stills"]
    module = "tests.edge.live.window_driver"
    with running(screen, tmp_path, module, TITLE, arguments) as shown:
        shown.wait_for(lambda: len(shown.lines()) == 1, "the first picture")
        shown.wait_for(lambda: len(shown.lines()) == 2, "the second picture")
        assert float(shown.lines()[1].split()[2]) > 700, "milliseconds"
        time.sleep(1.5)
        assert shown.run.poll() is None, "the last picture should stay until a key is pressed"
        shown.press("Return")
        shown.assert_clean_end()


def test_before_the_first_picture_there_is_no_window_to_ask() -> None:
    view = WindowView(Controls())
    view.tick()
    view.sources([])
    view.tick()
    view.__exit__(None, None, None)
