"""A real X server without a screen, for tests of windows."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_START_TIMEOUT_S = 60.0


def need(*programs: str) -> None:
    """Skip the test where a program is absent."""
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        pytest.skip(f"needs {', '.join(absent)} (Debian: apt-get install xvfb xdotool)")


@contextmanager
def xvfb(screen: str = "1600x1000x24", authority: Path | None = None) -> Iterator[dict[str, str]]:
    """Start Xvfb on a display that is free.

    Args:
        screen: width, height and depth.
        authority: an X authority file; clients without its cookie are refused. None: all may.

    Yields:
        An environment for clients: this process's, with DISPLAY set and nothing of Wayland or Qt.
    """
    need("Xvfb")
    reader, writer = os.pipe()
    # Without -noreset the server starts anew, deaf for a moment, whenever its last client leaves.
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", screen, "-noreset"]
    command += ["-nolisten", "tcp"]
    if authority is not None:
        command += ["-auth", str(authority)]
    server = subprocess.Popen(
        command, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        yield client_environment(f":{_display_number(reader)}")
    finally:
        os.close(reader)
        server.terminate()
        server.wait()


def client_environment(display: str | None) -> dict[str, str]:
    """This process's environment with another display, or with none."""
    foreign = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in foreign and not name.startswith("QT_")
    }
    return kept if display is None else kept | {"DISPLAY": display}


def _display_number(reader: int) -> int:
    text = b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([reader], [], [], _START_TIMEOUT_S)
        part = os.read(reader, 16) if ready else b""
        if not part:
            pytest.fail("Xvfb did not start")
        text += part
    return int(text)


def press_close_button(display: str, window: int) -> None:
    """Ask a window to close as a window manager does when its X is clicked (WM_DELETE_WINDOW).

    xdotool destroys a window or disconnects its client; neither is what a person does.
    """
    name = ctypes.util.find_library("X11")
    if name is None:
        pytest.skip("needs libX11")
    x11 = ctypes.CDLL(name)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    protocols, delete = (
        x11.XInternAtom(connection, atom, 0) for atom in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
    )
    event = _ClientMessage(kind=33, window=window, message=protocols, format=32)
    event.data[0] = delete
    x11.XSendEvent(connection, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
    x11.XCloseDisplay(connection)


class _ClientMessage(ctypes.Structure):
    """XClientMessageEvent, padded to the size of an XEvent."""

    _fields_ = (
        ("kind", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 12),
    )
