"""A camera that reboots again and again, and one that freezes: the program is there afterwards."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from edge.sources.policy import Limits
from edge.sources.streams import open_stream
from tests.faults.program import Program, Resources, camera, config, scored, silent, since
from tests.servers import KillableRtsp

RESTARTS = 20
SETTLED = 5
"""Restarts after which nothing may grow any more."""

RETRY_S = 0.3
JITTER = 0.1
FRAME_TIMEOUT_S = 1.0
SLACK_S = 1.0
"""What a busy machine may take besides, in seconds."""

# Every wait is a quick one here, for a server that takes long to start on a busy machine must not
# fall among the slow tries.
RETRY = {"quick_s": RETRY_S, "medium_s": RETRY_S, "slow_s": RETRY_S, "jitter": JITTER}


def open_time_s(server: KillableRtsp) -> float:
    """What opening a server that has just begun to listen takes, up to the first frame."""
    server.kill()
    server.start()
    began = time.monotonic()
    with closing(open_stream(server.address, Limits(), name="door")) as capture:
        capture.read()
    return time.monotonic() - began


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_twenty_times(
    tmp_path: Path, model: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back_s: list[float] = []
    used: list[Resources] = []
    with KillableRtsp(clip) as server:
        open_s = median(open_time_s(server) for _ in range(3))
        settings = config(model, [camera("door", server.address)], {"retry": RETRY})
        with Program(tmp_path, settings) as program:
            program.wait("frame", scored())
            for _ in range(RESTARTS):
                server.kill()
                server.start()
                began, unix_s = time.monotonic(), time.time()
                program.wait("frame after a restart", since(unix_s, scored()))
                back_s.append(time.monotonic() - began)
                used.append(program.resources())
            settled = used[SETTLED - 1]
            most = (settled.files, settled.threads)
            program.until(lambda: program.resources()[:2] == most, f"return to {settled}")
            program.stop_whole()
    growth = [now.rss_mb for now in used[SETTLED - 1 :]]
    slope_mb = float(np.polyfit(range(len(growth)), growth, 1)[0])
    with capsys.disabled():
        print(
            f"\n{RESTARTS} restarts: opening takes {open_s:.2f} s; back {min(back_s):.2f} to "
            f"{max(back_s):.2f} s after the server, median {median(back_s):.2f} s; files "
            f"{settled.files}, threads {settled.threads}, memory {growth[0]:.1f} to "
            f"{growth[-1]:.1f} MB, {1e3 * slope_mb:.0f} kB per restart"
        )
    assert max(back_s) <= RETRY_S * (1 + JITTER) + open_s + SLACK_S
    assert slope_mb < 0.3


def test_a_frozen_server_is_noticed_and_comes_back(
    tmp_path: Path, model: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = {"frame_timeout_s": FRAME_TIMEOUT_S, "retry": RETRY}
    with (
        KillableRtsp(clip) as server,
        Program(tmp_path, config(model, [camera("door", server.address)], capture)) as program,
    ):
        program.wait("frame", scored())
        server.freeze()
        began, known = time.monotonic(), len(program.rows)
        program.wait("silence", silent("door"), after=known)
        noticed_s = time.monotonic() - began
        program.wait("second silence", silent("door"), after=len(program.rows))
        server.thaw()
        began, unix_s = time.monotonic(), time.time()
        program.wait("frame after the thaw", since(unix_s, scored()))
        back_s = time.monotonic() - began
        program.wait("verdict after the thaw", since(unix_s, lambda row: row["verdict"] == "fake"))
        program.stop_whole()
    with capsys.disabled():
        print(f"\nfrozen: no_signal after {noticed_s:.2f} s, a frame {back_s:.2f} s after the thaw")
    assert noticed_s < FRAME_TIMEOUT_S + 1
