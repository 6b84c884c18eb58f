"""Servers that refuse: each failure is called by its name, and forgotten when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.clips import flat_jpeg
from tests.faults.program import Program, camera, config, scored, silent
from tests.faults.proxy import Line, Proxy
from tests.servers import KillableRtsp, motion_jpeg, steady_port

SECRET = "hunt@2/er"
WRITTEN = "hunt%402%2Fer"
RETRY = {"quick_s": 0.3, "medium_s": 0.3, "slow_s": 0.5}
CAPTURE = {"open_timeout_s": 1.5, "frame_timeout_s": 1.0, "retry": RETRY}


@dataclass(slots=True)
class Refusing:
    """Servers, each of which refuses in its own way, and the faults of theirs.

    Attributes:
        addresses: name → where a camera of that name would be.
        faults: name → what its lines must say.
        servers: name → what is behind it.
        mute: the one that answers once and is silent then.
    """

    addresses: dict[str, str]
    faults: dict[str, str]
    servers: dict[str, KillableRtsp]
    mute: Proxy

    def change_their_minds(self) -> None:
        """From now on each answers what it is asked."""
        for name in ("auth", "path"):
            self.servers[name].kill()
        self.servers["auth"].credentials = f"joe:{SECRET}"
        self.servers["path"].path = "/clip"
        for name in ("auth", "path", "absent"):
            self.servers[name].start()
        self.servers["frozen"].thaw()
        self.mute.line.replies = None


@contextmanager
def refusing(clip: Path) -> Iterator[Refusing]:
    with ExitStack() as stack:
        auth = stack.enter_context(KillableRtsp(clip, credentials="joe:other"))
        path = stack.enter_context(KillableRtsp(clip, path="/elsewhere"))
        frozen = stack.enter_context(KillableRtsp(clip))
        well = stack.enter_context(KillableRtsp(clip))
        absent = KillableRtsp(clip)
        stack.callback(absent.kill)
        mute = stack.enter_context(Proxy(well.port, line=Line(replies=1)))
        frozen.freeze()
        servers = {"auth": auth, "path": path, "frozen": frozen, "absent": absent}
        addresses = {
            name: f"rtsp://joe:{WRITTEN}@127.0.0.1:{server.port}/clip"
            for name, server in servers.items()
        }
        addresses["mute"] = f"rtsp://joe:{WRITTEN}@127.0.0.1:{mute.port}/clip"
        faults = {
            "auth": "auth",
            "path": "not_found",
            "frozen": "timeout",
            "absent": "network",
            "mute": "timeout",
        }
        yield Refusing(addresses, faults, servers, mute)


def test_each_refusal_has_its_name_and_ends_when_the_server_changes_its_mind(
    tmp_path: Path, model: Path, clip: Path
) -> None:
    with refusing(clip) as servers:
        cameras = [camera(name, address) for name, address in servers.addresses.items()]
        with Program(tmp_path, config(model, cameras, CAPTURE)) as program:
            for name, fault in servers.faults.items():
                row = program.wait(f"fault of {name}", silent(name, fault))
                assert row["error"].startswith(f"{name}: ") and row["error"].endswith(".")
            for name in servers.faults:
                assert not any(map(scored(name), program.rows))
            servers.change_their_minds()
            for name in servers.faults:
                program.wait(f"frame of {name}", scored(name))
            program.stop()
            program.check_whole("hunt")


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
            program.stop()
            program.check_whole("hunt")


@pytest.mark.parametrize("names", [("auth", "path"), ("frozen", "absent", "mute")])
def test_without_retries_a_refusal_is_one_sentence(
    tmp_path: Path, model: Path, clip: Path, names: tuple[str, ...]
) -> None:
    with refusing(clip) as servers, ExitStack() as stack:
        programs = {}
        for name in names:
            (folder := tmp_path / name).mkdir()
            told = {"model": str(model), "source": servers.addresses[name], "capture": CAPTURE}
            program = Program(folder, told, "--retries", "0")
            programs[name] = stack.enter_context(program)
        for program in programs.values():
            assert program.ended() == 1
            *_, last = program.said.splitlines()
            assert last.startswith("patchwatch: error: rtsp://***@127.0.0.1:")
            assert last.endswith(".")
            assert "error" not in program.said.replace(last, "")
            program.check_whole("hunt")
