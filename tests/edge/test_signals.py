from __future__ import annotations

import os
import signal

import pytest

from edge.signals import Stopped, stop_signals, uninterrupted


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_stops_with_the_exit_code_of_the_shell(number: int, code: int) -> None:
    with pytest.raises(Stopped) as stopped, stop_signals():
        send(number)
    assert stopped.value.exit_code == code


def test_a_second_signal_does_not_disturb_the_finishing_and_a_third_gives_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with stop_signals():
        with pytest.raises(Stopped):
            send(signal.SIGINT)
        send(signal.SIGINT)
        assert "once more abandons them" in capsys.readouterr().err
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


def test_the_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_signals():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_it_does_nothing() -> None:
    with uninterrupted():
        pass
    with pytest.raises(ValueError, match="as it was"), uninterrupted():
        raise ValueError("as it was")
