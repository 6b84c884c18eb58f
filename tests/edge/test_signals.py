from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from edge.signals import Stopped, hangups, stop_signals, uninterrupted


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_stops_with_the_exit_code_of_the_shell(number: int, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, stop_signals():
        assert signal.getsignal(number) is not before
        send(number)
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_disturb_the_finishing_and_a_third_gives_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with stop_signals():
        with pytest.raises(Stopped):
            send(signal.SIGINT)
        send(signal.SIGINT)
        assert "once more to abandon them" in capsys.readouterr().err
        with pytest.raises(Stopped):
            send(signal.SIGINT)


def test_a_signal_waits_until_a_block_that_must_not_be_torn_is_done() -> None:
    done = []
    with pytest.raises(Stopped), stop_signals():
        with uninterrupted():
            with uninterrupted():
                send(signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        done.append("after")
    assert done == ["inner", "outer"]


def test_other_threads_are_not_asked_to_wait_and_never_stopped() -> None:
    inside, leave = threading.Event(), threading.Event()
    ended: list[str] = []

    def write() -> None:
        with uninterrupted():
            inside.set()
            leave.wait(10)
        ended.append("whole")

    with pytest.raises(Stopped), stop_signals():
        thread = threading.Thread(target=write)
        thread.start()
        inside.wait(10)
        try:
            send(signal.SIGTERM)
        finally:
            leave.set()
            thread.join()
    assert ended == ["whole"]


def test_a_hangup_asks_for_the_configuration_and_the_handler_is_given_back() -> None:
    before, asked = signal.getsignal(signal.SIGHUP), []
    with stop_signals(), hangups(lambda: asked.append("again")):
        send(signal.SIGHUP)
        send(signal.SIGHUP)
    assert asked == ["again", "again"]
    assert signal.getsignal(signal.SIGHUP) is before


def test_a_terminal_that_goes_away_stops_the_run() -> None:
    script = """
import signal, sys
from edge.signals import Stopped, hangups, stop_signals
try:
    with stop_signals(), hangups(lambda: sys.exit(3)):
        print("ready", flush=True)
        signal.pause()
except Stopped as stopped:
    sys.exit(stopped.exit_code)
"""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    os.close(ours)
    os.kill(child.pid, signal.SIGHUP)
    child.communicate(timeout=120)
    assert child.returncode == 128 + signal.SIGHUP
