"""A camera that reboots again and again, and a line that damages: the program outlives both."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.faults.program import Program, Resources, camera, config, scored, since
from tests.faults.proxy import bad_line
from tests.servers import KillableRtsp

RESTARTS = 20
SETTLED = 5
"""Restarts after which nothing may grow any more."""

HITS = 60
GREY = 128
"""What the model of these tests subtracts from the mean of a picture."""

# Every wait is a quick one here, for a server that takes long to start on a busy machine must not
# fall among the slow tries.
RETRY = {"quick_s": 0.3, "medium_s": 0.3, "slow_s": 0.3}


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_twenty_times(
    tmp_path: Path, model: Path, clip: Path
) -> None:
    used: list[Resources] = []
    with KillableRtsp(clip) as server:
        settings = config(model, [camera("door", server.address)], {"retry": RETRY})
        with Program(tmp_path, settings) as program:
            program.wait("frame", scored())
            for _ in range(RESTARTS):
                server.kill()
                server.start()
                program.wait("frame after a restart", since(time.time(), scored()))
                used.append(program.resources())
            settled = used[SETTLED - 1]
            most = (settled.files, settled.threads)
            program.until(lambda: program.resources()[:2] == most, f"return to {settled}")
            program.stop_whole()
    growth_mb = [now.rss_mb for now in used[SETTLED - 1 :]]
    assert float(np.polyfit(range(len(growth_mb)), growth_mb, 1)[0]) < 0.3


def test_damage_on_the_way_does_not_end_a_stream(tmp_path: Path, model: Path, clip: Path) -> None:
    with KillableRtsp(clip) as server, bad_line(server.port) as line:
        cameras = [camera("door", f"rtsp://127.0.0.1:{line.port}/clip")]
        with Program(tmp_path, config(model, cameras, {"retry": {"quick_s": 0.3}})) as program:
            program.wait("frame", scored())
            line.corrupt = 0.2
            program.until(lambda: line.hits >= HITS, "damage")
            during = len(program.rows)
            line.corrupt = 0.0
            program.wait("frame after the damage", scored(), after=during + 5)
            rows = [row for row in program.rows if scored()(row)]
            program.stop_whole()
    assert {row["logit"] + GREY > 234 for row in rows} == {True}, "concealed damage was scored"
