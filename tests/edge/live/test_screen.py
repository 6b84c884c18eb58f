from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from edge.live.screen import explain, window_wh
from tests.edge.live.desktop import ROOT, desktop
from tests.xvfb import client_environment, xvfb

CHECK = """
import json, os, sys
from edge.errors import SinkError
from edge.live.screen import display_problem
from edge.live.views import Controls
from edge.live.window import WindowView
for changes in json.loads(sys.argv[1]):
    os.environ.update(changes)
    print(display_problem())
    try:
        with WindowView(Controls()):
            print("opened")
    except SinkError as error:
        print(error)
"""


def check(environment: dict[str, str], *changes: dict[str, str]) -> list[str]:
    """What a program says of each display, twice; it must not be aborted by any."""
    words = [sys.executable, "-c", CHECK, json.dumps([{}, *changes])]
    run = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    said = run.stdout.splitlines()
    assert [line.replace("None", "opened") for line in said[::2]] == said[1::2]
    return said[::2]


def test_where_nothing_can_be_shown_it_is_said_why() -> None:
    none, dead = check(client_environment(None), {"DISPLAY": ":98765"})
    assert "neither DISPLAY nor WAYLAND_DISPLAY is set" in none
    assert dead.startswith("No window can be opened")
    assert "98765" in dead or "opencv-python-headless" in dead


def test_a_display_that_works_is_no_problem_and_one_that_refuses_is(tmp_path: Path) -> None:
    authority = tmp_path / "authority"
    cookie = (b"", b"", b"MIT-MAGIC-COOKIE-1", bytes(range(16)))
    parts = b"".join(struct.pack(">H", len(part)) + part for part in cookie)
    authority.write_bytes(struct.pack(">H", 0xFFFF) + parts)
    with desktop() as screen, xvfb(authority=authority) as guarded:
        works, refused, admitted, other = check(
            screen,
            {"DISPLAY": guarded["DISPLAY"]},
            {"XAUTHORITY": str(authority)},
            {"QT_QPA_PLATFORM": "absent"},
        )
    assert (works, admitted) == ("None", "None")
    assert refused.startswith("No window can be opened on display :")
    assert cv2.currentUIFramework() != "QT" or 'the Qt platform plugin "absent"' in other


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
