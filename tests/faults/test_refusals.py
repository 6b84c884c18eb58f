"""Servers that refuse: each failure is called by its name, and forgotten when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.edge.sources.clips import flat_jpeg
from tests.faults.program import PATIENCE_S, Program, camera, config, scored, silent
from tests.faults.proxy import Line, bad_line
from tests.servers import KillableRtsp, motion_jpeg, steady_port

SECRET = "hunt@2/er"
WRITTEN = "hunt%402%2Fer"
RETRY = {"quick_s": 0.3, "medium_s": 0.3, "slow_s": 0.5}
CAPTURE = {"open_timeout_s": 1.5, "frame_timeout_s": 1.0, "retry": RETRY}


FAULTS = {
    "auth": "auth",
    "path": "not_found",
    "frozen": "timeout",
    "absent": "network",
    "mute": "timeout",
}
"""What the lines of a camera must say, each of which is refused in its own way."""


@dataclass(slots=True)
class Refusing:
    """Servers of `FAULTS`, where a camera of that name would be, and the line to the mute one."""

    addresses: dict[str, str]
    servers: dict[str, KillableRtsp]
    mute: Line

    def change_their_minds(self) -> None:
        """From now on each answers what it is asked."""
        for name in ("auth", "path"):
            self.servers[name].kill()
        self.servers["auth"].credentials = f"joe:{SECRET}"
        self.servers["path"].path = "/clip"
        for name in ("auth", "path", "absent"):
            self.servers[name].start()
        self.servers["frozen"].thaw()
        self.mute.replies = None


@contextmanager
def refusing(clip: Path) -> Iterator[Refusing]:
    with ExitStack() as stack:
        servers = {
            "auth": stack.enter_context(KillableRtsp(clip, credentials="joe:other")),
            "path": stack.enter_context(KillableRtsp(clip, path="/elsewhere")),
            "frozen": stack.enter_context(KillableRtsp(clip)),
            "absent": KillableRtsp(clip),
        }
        stack.callback(servers["absent"].kill)
        servers["frozen"].freeze()
        well = stack.enter_context(KillableRtsp(clip))
        mute = stack.enter_context(bad_line(well.port, replies=1))
        ports = {name: server.port for name, server in servers.items()} | {"mute": mute.port}
        addresses = {
            name: f"rtsp://joe:{WRITTEN}@127.0.0.1:{port}/clip" for name, port in ports.items()
        }
        yield Refusing(addresses, servers, mute)


def test_each_refusal_has_its_name_and_ends_when_the_server_changes_its_mind(
    tmp_path: Path, model: Path, clip: Path
) -> None:
    with refusing(clip) as servers:
        cameras = [camera(name, address) for name, address in servers.addresses.items()]
        with Program(tmp_path, config(model, cameras, CAPTURE)) as program:
            for name, fault in FAULTS.items():
                row = program.wait(f"fault of {name}", silent(name, fault))
                assert row["error"].startswith(f"{name}: ") and row["error"].endswith(".")
            for name in FAULTS:
                assert not any(map(scored(name), program.rows))
            servers.change_their_minds()
            for name in FAULTS:
                program.wait(f"frame of {name}", scored(name))
            program.stop_whole("hunt")


def test_http_refusals_have_their_names(tmp_path: Path, model: Path) -> None:
    picture = flat_jpeg(240)
    with motion_jpeg([picture], credentials=f"joe:{SECRET}") as url:
        rightly = url.replace("//", f"//joe:{WRITTEN}@")
        wrongly = url.replace("//", "//joe:hunter@")
        cameras = [
            camera("right", rightly),
            camera("wrong", wrongly),
            camera("path", rightly.replace("stream", "other")),
            camera("port", f"http://joe:hunter@127.0.0.1:{steady_port()}/"),
        ]
        with Program(tmp_path, config(model, cameras, CAPTURE)) as program:
            program.wait("frame", scored("right"))
            program.wait("401", silent("wrong", "auth"))
            program.wait("404", silent("path", "not_found"))
            program.wait("refusal", silent("port", "network"))
            program.stop_whole("hunt")


@pytest.mark.parametrize("names", [("auth", "path"), ("frozen", "absent", "mute")])
def test_without_retries_a_refusal_is_one_sentence(
    tmp_path: Path, model: Path, clip: Path, names: tuple[str, ...]
) -> None:
    with refusing(clip) as servers, ExitStack() as stack:
        programs = {}
        for name in names:
            (folder := tmp_path / name).mkdir()
            settings = {"model": str(model), "source": servers.addresses[name], "capture": CAPTURE}
            program = Program(folder, settings, "--retries", "0")
            programs[name] = stack.enter_context(program)
        for program in programs.values():
            assert program.process.wait(PATIENCE_S) == 1
            *_, last = program.said.splitlines()
            assert last.startswith("patchwatch: error: rtsp://***@127.0.0.1:")
            assert last.endswith(".")
            assert "error" not in program.said.replace(last, "")
            program.check_whole("hunt")
