from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edge.live.screen import explain, window_wh
from tests.edge.live.desktop import ROOT, desktop
from tests.xvfb import client_environment, xvfb

CHECK = """
from edge.errors import SinkError
from edge.live.screen import display_problem
from edge.live.views import Controls
from edge.live.window import WindowView
print(display_problem())
try:
    with WindowView(Controls()):
        print("opened")
except SinkError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def screen() -> Iterator[dict[str, str]]:
    with desktop() as environment:
        yield environment


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
