from __future__ import annotations

import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sinks.window import explain, shrink, window_wh
from tests.edge.sinks.desktop import ROOT, Window, desktop, running
from tests.edge.sinks.results import plain
from tests.edge.sinks.window_driver import BGR, TITLE
from tests.xvfb import client_environment, press_close_button, xvfb

CHECK = """
from edge.errors import SinkError
from edge.sinks.controls import Controls
from edge.sinks.window import WindowSink, display_problem
print(display_problem())
try:
    with WindowSink(Controls()):
        print("opened")
except SinkError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def screen() -> Iterator[dict[str, str]]:
    with desktop() as environment:
        yield environment


@contextmanager
def window(
    screen: dict[str, str], folder: Path, height: int = 240, width: int = 320, mode: str = "live"
) -> Iterator[Window]:
    """Start the driver, wait until its window is there, and end it at last."""
    module = "tests.edge.sinks.window_driver"
    with running(screen, folder, module, TITLE, [str(height), str(width), mode]) as shown:
        if mode == "live":
            shown.wait_until_shown()
        yield shown


def heat_map(shown: Window) -> str:
    return shown.lines()[-1].split()[-1]


def test_keys_toggle_pause_save_and_quit(screen: dict[str, str], tmp_path: Path) -> None:
    with window(screen, tmp_path) as shown:
        shown.press("h")
        shown.wait_for(lambda: heat_map(shown) == "False", "switching the heat map off")
        shown.press("h")
        shown.wait_for(lambda: heat_map(shown) == "True", "switching it on again")

        shown.press("space")
        paused = f"{TITLE} (paused)"
        shown.wait_for(lambda: shown.ids(paused), "the pause")
        count = len(shown.lines())
        time.sleep(0.3)
        assert len(shown.lines()) == count

        shown.press("s", paused)
        shown.wait_for(lambda: "Snapshot saved" in shown.notes(), "a snapshot")
        shown.press("space", paused)
        shown.wait_for(lambda: len(shown.lines()) > count + 3, "going on")

        shown.press("Left")
        shown.press("q")
        shown.assert_clean_end()

    (snapshot,) = shown.snapshots.iterdir()
    assert re.fullmatch(r"clip_\d{8}-\d{6}_\d{6}\.png", snapshot.name)
    picture = cv2.imread(str(snapshot))
    assert picture is not None and (picture == plain(240, 320, BGR)).all()
    assert shown.notes().splitlines() == [f"INFO Snapshot saved: {snapshot}"]


def test_escape_quits_in_a_pause_too(screen: dict[str, str], tmp_path: Path) -> None:
    with window(screen, tmp_path) as shown:
        shown.press("space")
        shown.wait_for(lambda: shown.ids(f"{TITLE} (paused)"), "the pause")
        shown.press("Escape", f"{TITLE} (paused)")
        shown.assert_clean_end()


def test_the_arrow_keys_do_not_quit(screen: dict[str, str], tmp_path: Path) -> None:
    with window(screen, tmp_path) as shown:
        for key in ("Left", "Up", "Right", "Down"):
            shown.press(key)
        count = len(shown.lines())
        shown.wait_for(lambda: len(shown.lines()) > count + 10, "going on")
        assert not shown.snapshots.exists()


def test_the_close_button_quits(screen: dict[str, str], tmp_path: Path) -> None:
    with window(screen, tmp_path) as shown:
        press_close_button(screen["DISPLAY"], int(shown.ids()[-1]))
        shown.assert_clean_end()


def test_a_huge_frame_fits_and_is_seen(screen: dict[str, str], tmp_path: Path) -> None:
    def pixels() -> int:
        return int((shown.seen() == BGR).all(axis=2).sum())

    with window(screen, tmp_path, 2160, 3840) as shown:
        shown.wait_until_painted()
        geometry = shown.xdotool("getwindowgeometry", "--shell", shown.ids()[-1])
        shown.wait_for(lambda: pixels() == 1280 * 720, "a picture that fills the window")
    assert "WIDTH=1280" in geometry and "HEIGHT=720" in geometry


def test_a_snapshot_that_cannot_be_saved_does_not_end_the_run(
    screen: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "snapshots").touch()
    with window(screen, tmp_path) as shown:
        shown.press("s")
        shown.wait_for(lambda: "WARNING No snapshot" in shown.notes(), "a warning")
        shown.press("q")
        shown.assert_clean_end()


def check(environment: dict[str, str]) -> tuple[str, str]:
    """What a program without a usable display says; it must not be aborted."""
    run = subprocess.run(
        [sys.executable, "-c", CHECK], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    problem, entered = run.stdout.splitlines()
    return problem, entered


def test_a_display_that_works_is_no_problem(screen: dict[str, str]) -> None:
    assert check(screen) == ("None", "opened")


def test_no_display_at_all() -> None:
    problem, entered = check(client_environment(None))
    assert "neither DISPLAY nor WAYLAND_DISPLAY is set" in problem
    assert entered == problem


def test_a_display_without_a_server() -> None:
    problem, entered = check(client_environment(":98765"))
    assert problem.startswith("No window can be opened")
    assert "98765" in problem or "opencv-python-headless" in problem
    assert entered == problem


def test_a_server_that_refuses(screen: dict[str, str], tmp_path: Path) -> None:
    authority = tmp_path / "authority"
    cookie = (b"", b"", b"MIT-MAGIC-COOKIE-1", bytes(range(16)))
    parts = b"".join(struct.pack(">H", len(part)) + part for part in cookie)
    authority.write_bytes(struct.pack(">H", 0xFFFF) + parts)
    with xvfb(authority=authority) as environment:
        assert check(environment)[0].startswith("No window can be opened on display :")
        assert check(environment | {"XAUTHORITY": str(authority)})[0] == "None"


def test_a_qt_plugin_that_is_absent(screen: dict[str, str]) -> None:
    if cv2.currentUIFramework() != "QT":
        pytest.skip("needs an OpenCV with Qt")
    problem, _ = check(screen | {"QT_QPA_PLATFORM": "absent"})
    assert 'the Qt platform plugin "absent"' in problem


def test_an_opencv_without_windows_is_named() -> None:
    complaint = (
        "Traceback (most recent call last):\n"
        "cv2.error: OpenCV(5.0.0) window.cpp:1200: error: (-2:Unspecified error) The function is "
        "not implemented. Rebuild the library with Windows, GTK+ 2.x or Cocoa support."
    )
    assert "Install opencv-python in its place" in explain(":0", complaint)


def test_the_reason_stands_in_the_sentence() -> None:
    crash = "Traceback:\n  File x\nImportError: libGL.so.1: cannot open shared object file\n"
    assert "on display :0: ImportError: libGL.so.1" in explain(":0", crash)
    assert "no reason was given" in explain("", "")


def test_pictures_that_stand_alone_stay_long_enough_to_be_seen(
    screen: dict[str, str], tmp_path: Path
) -> None:
    with window(screen, tmp_path, mode="stills") as shown:
        shown.wait_for(lambda: len(shown.lines()) == 1, "the first picture")
        began = time.monotonic()
        shown.wait_for(lambda: len(shown.lines()) == 2, "the second picture")
        assert time.monotonic() - began > 0.7
        time.sleep(1.5)
        assert shown.run.poll() is None, "the last picture should stay until a key is pressed"
        shown.press("Return")
        shown.assert_clean_end()


@pytest.mark.parametrize(
    ("hw", "expected"),
    [
        ((720, 1280), (1280, 720)),
        ((2160, 3840), (1280, 720)),
        ((480, 640), (640, 480)),
        ((240, 320), (640, 480)),
        ((3000, 100), (24, 720)),
        ((1, 5000), (1280, 1)),
        ((1, 1), (480, 480)),
    ],
)
def test_the_window_opens_at_a_readable_size(
    hw: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert window_wh(*hw) == expected


def test_only_what_is_too_large_is_scaled() -> None:
    image = plain(100, 200, BGR)
    assert shrink(image, 200, 100) is image
    assert shrink(image, 500, 500) is image
    assert shrink(image, -1, -1) is image
    assert shrink(image, 100, 80).shape == (50, 100, 3)
    # Averaged, not dropped: every other row white comes out grey.
    stripes = plain(100, 100, (0, 0, 0))
    stripes[::2] = 255
    assert np.abs(shrink(stripes, 50, 50).astype(int) - 128).max() <= 1
