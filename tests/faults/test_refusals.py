"""Servers that refuse: each failure is called by its name, and forgotten when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.faults.program import PATIENCE_S, Program, camera, config, scored, silent
from tests.servers import KillableRtsp

SECRET = "hunt@2/er"
WRITTEN = "hunt%402%2Fer"
RETRY = {"quick_s": 0.3, "medium_s": 0.3, "slow_s": 0.5}
CAPTURE = {"open_timeout_s": 1.5, "frame_timeout_s": 1.0, "retry": RETRY}


FAULTS = {
    "auth": "auth",
    "path": "not_found",
    "frozen": "timeout",
    "absent": "network",
}
"""What the lines of a camera must say, each of which is refused in its own way."""


@contextmanager
def refusing(clip: Path) -> Iterator[dict[str, KillableRtsp]]:
    """Servers of `FAULTS`, where a camera of that name would be."""
    with ExitStack() as stack:
        servers = {
            "auth": stack.enter_context(KillableRtsp(clip, credentials="joe:other")),
            "path": stack.enter_context(KillableRtsp(clip, path="/elsewhere")),
            "frozen": stack.enter_context(KillableRtsp(clip)),
            "absent": KillableRtsp(clip),
        }
        stack.callback(servers["absent"].kill)
        servers["frozen"].freeze()
        yield servers


def address(server: KillableRtsp) -> str:
    return f"rtsp://joe:{WRITTEN}@127.0.0.1:{server.port}/clip"


def test_each_refusal_has_its_name_and_ends_when_the_server_changes_its_mind(
    tmp_path: Path, model: Path, clip: Path
) -> None:
    with refusing(clip) as servers:
        cameras = [camera(name, address(server)) for name, server in servers.items()]
        with Program(tmp_path, config(model, cameras, CAPTURE)) as program:
            for name, fault in FAULTS.items():
                row = program.wait(f"fault of {name}", silent(name, fault))
                assert row["error"].startswith(f"{name}: ") and row["error"].endswith(".")
            for name in FAULTS:
                assert not any(map(scored(name), program.rows))
            for name in ("auth", "path"):
                servers[name].kill()
            servers["auth"].credentials = f"joe:{SECRET}"
            servers["path"].path = "/clip"
            for name in ("auth", "path", "absent"):
                servers[name].start()
            servers["frozen"].thaw()
            for name in FAULTS:
                program.wait(f"frame of {name}", scored(name))
            program.stop_whole("hunt")


def test_without_retries_a_refusal_is_one_sentence(tmp_path: Path, model: Path, clip: Path) -> None:
    with refusing(clip) as servers:
        settings = {"model": str(model), "source": address(servers["auth"]), "capture": CAPTURE}
        with Program(tmp_path, settings, "--retries", "0") as program:
            assert program.process.wait(PATIENCE_S) == 1
            (said,) = program.said.splitlines()
            assert said.startswith("patchwatch: error: rtsp://***@127.0.0.1:")
            assert said.endswith(".")
            program.check_whole("hunt")
