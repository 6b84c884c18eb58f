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
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from typing_extensions import Self

from edge.manifest import METADATA_KEY
from tests.fakes import make_manifest
from tests.faults.program import (
    PATIENCE_S,
    Found,
    Program,
    camera,
    config,
    played,
    scored,
    silent,
)
from tests.servers import KillableRtsp

SECRET = "hunter2"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
CAPTURE = {
    "open_timeout_s": 60.0,
    "frame_timeout_s": 1.0,
    "read_timeout_s": 60.0,
    "retry": {"quick_s": 60.0},
}
"""What blocks, blocks for longer than a test lasts."""

Change = Callable[[KillableRtsp], None]
SCENES: dict[str, tuple[Change | None, Found, Change | None]] = {
    "while frames come": (None, scored("door"), None),
    "in a blocked open": (KillableRtsp.freeze, silent("door"), None),
    "in a blocked read": (None, scored("door"), KillableRtsp.freeze),
    "while it waits to try again": (KillableRtsp.kill, silent("door", "network"), None),
    "after the stream broke": (None, scored("door"), KillableRtsp.kill),
}
"""What befalls the camera `door` first, the line that is waited for, and what makes it silent."""


@pytest.fixture(scope="module")
def beside(clip: Path) -> Iterator[str]:
    """A camera that is well."""
    with KillableRtsp(clip) as server:
        yield server.address


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """One for each program, by its signal."""
    made = [tmp_path / number.name for number in CODES]
    for folder in made:
        folder.mkdir()
    return made


def wait(programs: list[Program], what: str, found: Found) -> None:
    """Until each program has written such a line, from now on."""
    for program in programs:
        program.wait(what, found, after=len(program.rows))


@pytest.mark.parametrize("name", SCENES)
def test_a_signal_ends_it_in_time(
    folders: list[Path], model: Path, clip: Path, beside: str, name: str
) -> None:
    before, line, after = SCENES[name]
    with KillableRtsp(clip) as server, ExitStack() as stack:
        if before is not None:
            before(server)
        programs = [
            stack.enter_context(Program(folder, settings(folder, model, server.address, beside)))
            for folder in folders
        ]
        wait(programs, "frame of the camera beside it", scored("yard"))
        wait(programs, name, line)
        if after is not None:
            after(server)
            wait(programs, "silence", silent("door"))
        stop_all(programs)
        for program in programs:
            check_videos(program, any(map(scored("door"), program.rows)))


def test_a_signal_ends_it_in_time_while_a_sink_blocks(
    folders: list[Path], model: Path, clip: Path, beside: str
) -> None:
    with KillableRtsp(clip) as server, ExitStack() as stack:
        programs, pipes = [], []
        for folder in folders:
            pipes.append(stack.enter_context(Pipe(folder / "lines.jsonl")))
            program = Program(folder, settings(folder, model, server.address, beside))
            programs.append(stack.enter_context(program))
        for program, pipe in zip(programs, pipes, strict=True):
            program.until(pipe.full, "full pipe")
        stop_all(programs)
        for program, pipe in zip(programs, pipes, strict=True):
            pipe.check()
            check_videos(program, door=True)


SIDE, ROUNDS = 2000, 6
"""Products of matrices of `SIDE`²: two seconds or so on one core, by no means less than one."""


def write_heavy_model(path: Path) -> Path:
    """Write a model that is at work for seconds, inside its runtime, where no signal reaches it."""
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", "H", "W", 3])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"])
    side = helper.make_tensor("side", TensorProto.INT64, [2], [SIDE, SIDE])
    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["one"], keepdims=1),
        helper.make_node("Expand", ["one", "side"], ["m0"]),
    ]
    for turn in range(ROUNDS):
        nodes.append(helper.make_node("MatMul", [f"m{turn}", f"m{turn}"], [f"p{turn}"]))
        nodes.append(helper.make_node("Tanh", [f"p{turn}"], [f"m{turn + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"m{ROUNDS}"], ["work"], keepdims=0))
    nodes.append(helper.make_node("Add", ["mean", "work"], ["logit"]))
    graph = helper.make_graph(nodes, "heavy", [frames], [logit], initializer=[side])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: make_manifest(patches=None).to_json()})
    onnx.save(model, str(path))
    return path


LINGER = """
import builtins, time

class Linger:
    def __del__(self, sleep=time.sleep):
        sleep(3)

builtins.linger = Linger()
"""
"""What Python tears down last takes long here: if it tears down at all, it is at it when the model
comes back, to an interpreter that is no more."""


@pytest.mark.slow
def test_a_signal_ends_it_in_time_while_the_model_is_at_work(
    tmp_path: Path, folders: list[Path], beside: str
) -> None:
    model = write_heavy_model(tmp_path / "heavy.onnx")
    (tmp_path / "sitecustomize.py").write_text(LINGER)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with ExitStack() as stack:
        programs = [
            stack.enter_context(
                Program(
                    folder,
                    settings(folder, model, beside, beside),
                    environment={"PYTHONPATH": path},
                )
            )
            for folder in folders
        ]
        wait(programs, "frame", scored())
        stop_all(programs)
        assert not [program for program in programs if "terminate" in program.said]


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


def settings(folder: Path, model: Path, door: str, yard: str) -> dict[str, object]:
    cameras = [camera("door", door.replace("//", f"//joe:{SECRET}@")), camera("yard", yard)]
    return config(model, cameras, CAPTURE, output={"save": str(folder / "{camera}.mp4")})


def stop_all(programs: list[Program]) -> None:
    """Signal all of them at once, and check that each ends, how, and what it leaves."""
    for program, number in zip(programs, CODES, strict=True):
        program.process.send_signal(number)
    for program, code in zip(programs, CODES.values(), strict=True):
        assert program.process.wait(PATIENCE_S) == code
    for program in programs:
        program.check_whole(SECRET)


def check_videos(program: Program, door: bool) -> None:
    """That they can be played to their end. Had the `door`, which got stuck, a frame?"""
    assert "interrupted" in program.said
    assert played(program.folder / "yard.mp4") > 0
    video = program.folder / "door.mp4"
    if door or video.exists():  # without a frame it may hold the pictures that say so
        assert played(video) > 0
