"""Ctrl-C and SIGTERM end the program soon, whatever its cameras and sinks are stuck in."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typing_extensions import Self

from tests.faults.heavy import write_heavy_model
from tests.faults.program import (
    PATIENCE_S,
    POLL_S,
    Found,
    Program,
    camera,
    config,
    played,
    scored,
    silent,
)
from tests.servers import KillableRtsp

LIMIT_S = 5.0
SECRET = "hunter2"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
CAPTURE = {
    "open_timeout_s": 60.0,
    "frame_timeout_s": 1.0,
    "read_timeout_s": 60.0,
    "retry": {"quick_s": 60.0},
}
"""What blocks, blocks for longer than a test lasts."""


@dataclass(slots=True)
class Scene:
    """The camera `door`, which gets stuck; and programs that watch it, and another beside it."""

    server: KillableRtsp
    programs: list[Program] = field(default_factory=list)

    def wait(self, what: str, found: Found) -> None:
        """Until each program has written such a line, from now on."""
        for program in self.programs:
            program.wait(what, found, after=len(program.rows))


def streaming(scene: Scene) -> None:
    scene.wait("frame", scored("door"))


def in_open(scene: Scene) -> None:
    scene.wait("silence", silent("door"))


def in_read(scene: Scene) -> None:
    scene.wait("frame", scored("door"))
    scene.server.freeze()
    scene.wait("silence", silent("door"))


def refused(scene: Scene) -> None:
    scene.wait("refusal", silent("door", "network"))


def broken(scene: Scene) -> None:
    scene.wait("frame", scored("door"))
    scene.server.kill()
    scene.wait("silence", silent("door"))


SCENES: dict[str, tuple[Callable[[KillableRtsp], None] | None, Callable[[Scene], None]]] = {
    "while frames come": (None, streaming),
    "in a blocked open": (KillableRtsp.freeze, in_open),
    "in a blocked read": (None, in_read),
    "while it waits to try again": (KillableRtsp.kill, refused),
    "after the stream broke": (None, broken),
}


@pytest.fixture(scope="module")
def beside(clip: Path) -> Iterator[str]:
    """A camera that is well."""
    with KillableRtsp(clip) as server:
        yield server.address


@pytest.mark.parametrize("name", SCENES)
def test_a_signal_ends_it_in_time(
    tmp_path: Path,
    model: Path,
    clip: Path,
    beside: str,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare, make_stuck = SCENES[name]
    with KillableRtsp(clip) as server, ExitStack() as stack:
        if prepare is not None:
            prepare(server)
        scene = Scene(server)
        for folder in folders(tmp_path):
            program = Program(folder, told(folder, model, server.address, beside))
            scene.programs.append(stack.enter_context(program))
        scene.wait("frame of the camera beside it", scored("yard"))
        make_stuck(scene)
        took_s = stop_all(scene.programs)
        for program in scene.programs:
            program.check_whole(SECRET)
            check_videos(program, any(map(scored("door"), program.rows)))
    with capsys.disabled():
        print(f"\n{name}: ends {', '.join(f'{s:.2f} s' for s in took_s)} after the signal")


def test_a_signal_ends_it_in_time_while_a_sink_blocks(
    tmp_path: Path, model: Path, clip: Path, beside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with KillableRtsp(clip) as server, ExitStack() as stack:
        programs, pipes = [], []
        for folder in folders(tmp_path):
            pipes.append(stack.enter_context(Pipe(folder / "lines.jsonl")))
            program = Program(folder, told(folder, model, server.address, beside))
            programs.append(stack.enter_context(program))
        for program, pipe in zip(programs, pipes, strict=True):
            program.until(pipe.full, "full pipe")
        took_s = stop_all(programs)
        for program, pipe in zip(programs, pipes, strict=True):
            pipe.check()
            program.check_whole(SECRET)
            check_videos(program, door=True)
    with capsys.disabled():
        print(f"\nblocked sink: ends {', '.join(f'{s:.2f} s' for s in took_s)} after the signal")


LINGER = """
import builtins, time

class Linger:
    def __del__(self, sleep=time.sleep):
        sleep(3)

builtins.linger = Linger()
"""
"""What Python tears down last takes long here: if it tears down at all, it is at it when the model
comes back, to an interpreter that is no more."""


def test_a_signal_ends_it_in_time_while_the_model_is_at_work(
    tmp_path: Path, beside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_heavy_model(tmp_path / "heavy.onnx")
    (tmp_path / "sitecustomize.py").write_text(LINGER)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with ExitStack() as stack:
        programs = []
        for folder in folders(tmp_path):
            config = told(folder, model, beside, beside)
            program = Program(folder, config, environment={"PYTHONPATH": path})
            programs.append(stack.enter_context(program))
        for program in programs:
            program.wait("frame", scored())
        took_s = stop_all(programs)
        for program in programs:
            program.check_whole(SECRET)
            assert "terminate" not in program.said
    with capsys.disabled():
        print(f"\nmodel at work: ends {', '.join(f'{s:.2f} s' for s in took_s)} after the signal")


class Pipe:
    """A named pipe whose reader reads nothing, as a disk that is stuck; a context manager."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self._end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._room = fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, 4096)
        self._waits = 0
        self._since_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        self._path.unlink()

    def full(self) -> bool:
        """Whether more than half of it is full, and nothing more came for long."""
        waits = int.from_bytes(fcntl.ioctl(self._end, termios.FIONREAD, bytes(4)), "little")
        if waits != self._waits:
            self._waits, self._since_s = waits, time.monotonic()
        return waits > self._room / 2 and time.monotonic() - self._since_s > 0.5

    def check(self) -> None:
        """That what is in it are whole lines."""
        text = os.read(self._end, self._room).decode()
        assert text.endswith("\n")
        assert [json.loads(line) for line in text.splitlines()]


def folders(tmp_path: Path) -> list[Path]:
    """One for each program, by its signal."""
    made = [tmp_path / number.name for number in CODES]
    for folder in made:
        folder.mkdir()
    return made


def told(folder: Path, model: Path, door: str, yard: str) -> dict[str, object]:
    cameras = [camera("door", door.replace("//", f"//joe:{SECRET}@")), camera("yard", yard)]
    return config(model, cameras, CAPTURE, output={"save": str(folder / "{camera}.mp4")})


def stop_all(programs: list[Program]) -> list[float]:
    """Signal all of them at once, and see when and how each ends."""
    began = time.monotonic()
    for program, number in zip(programs, CODES, strict=True):
        program.process.send_signal(number)
    took_s: dict[int, float] = {}
    while len(took_s) < len(programs):
        assert time.monotonic() - began < PATIENCE_S, "a program did not end"
        for program in programs:
            if program.process.poll() is not None:
                took_s.setdefault(program.process.pid, time.monotonic() - began)
        time.sleep(POLL_S)
    assert [program.process.returncode for program in programs] == list(CODES.values())
    assert max(took_s.values()) < LIMIT_S
    return sorted(took_s.values())


def check_videos(program: Program, door: bool) -> None:
    """That they can be played to their end.

    Args:
        program: ended.
        door: whether the camera that got stuck had a frame.
    """
    assert "interrupted" in program.said
    assert played(program.folder / "yard.mp4") > 0
    video = program.folder / "door.mp4"
    if door or video.exists():  # without a frame it may hold the pictures that say so
        assert played(video) > 0
