"""Starts the process that builds an engine, waits for it, and takes what it made."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from edge.errors import EngineError, GpuError, PatchwatchError
from edge.files import write_whole
from edge.tensorrt.record import Sidecar, parse_sidecar
from edge.tensorrt.store import EngineRequest, Progress
from export.engine.worker import PLAN, RECORD, Order, timing_cache_path

_ROOT = Path(__file__).resolve().parents[2]

_TICK_S = 1.0
"""How often the caller hears that a build is still at the same step."""


LOGS = "logs"
"""Folder beside the engines with what each attempt of a build wrote, the newest of a name."""


class BuildError(EngineError):
    """A build that failed; `log` is the end of what its last attempt wrote to stderr."""

    def __init__(self, text: str, written: str) -> None:
        super().__init__(text)
        self.log = written[-2_000:]


def build_engine(request: EngineRequest, progress: Progress) -> tuple[bytes, Sidecar]:
    """Build and prove an engine; implements `edge.tensorrt.store.BuildEngine`.

    Each way to the engine is tried in a process of its own: where one crashes the next is tried.
    Ctrl-C ends it and leaves no engine. BuildError where it cannot be built, or is too far from the
    model file; GpuError, caused by one, where no GPU answers.
    """
    refused: list[str] = []
    while True:
        with tempfile.TemporaryDirectory(prefix="patchwatch-engine-") as folder:
            order = Order(
                model=request.model.resolve(),
                key=request.key,
                output=Path(folder),
                timings=timing_cache_path(request.folder, request.key.machine),
                labelled=request.labelled and request.labelled.resolve(),
                label_folders=request.label_folders,
                workspace_bytes=request.workspace_bytes,
                refused=tuple(refused),
            )
            log = Path(folder, "stderr")
            with log.open("w") as stderr, _worker(order, stderr) as worker:
                said = _follow(worker, progress)
            written = log.read_text(encoding="utf-8", errors="replace")
            kept = _keep_log(request, len(refused) + 1, written)
            why = _why(said, worker.returncode)
            if why is None:
                record = Path(folder, RECORD).read_text(encoding="utf-8")
                plan = Path(folder, PLAN).read_bytes()
                return plan, parse_sidecar(record, "the builder's record")
        routes = said.get("routes", [])
        route = f"{routes[len(refused)]}: " if routes else ""
        refused.append(f"{route}{why}{f' Its log: {kept}.' if kept else ''}")
        no_gpu = said.get("kind") == "GpuError"
        if no_gpu or len(refused) >= len(routes):
            error = BuildError(" Then: ".join(refused), written)
            if no_gpu:
                raise GpuError(said["error"]) from error
            raise error


def _keep_log(request: EngineRequest, number: int, text: str) -> Path | None:
    """Where the log of an attempt lies; None for an empty one, or where it cannot be kept."""
    path = request.folder / LOGS / f"{request.key.digest()}-{number}.log"
    with suppress(PatchwatchError):
        if text.strip():
            write_whole(path, text)
            return path
    return None


@contextmanager
def _worker(order: Order, stderr: IO[str]) -> Iterator[subprocess.Popen[str]]:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    worker = subprocess.Popen(
        [sys.executable, "-m", "export.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        # Ctrl-C reaches this process alone, which ends that one.
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        assert worker.stdin is not None  # a pipe was asked for
        with worker.stdin as stdin:
            stdin.write(order.model_dump_json())
        yield worker
        worker.wait()
    finally:
        # TensorRT cannot be asked to stop on every release.
        worker.kill()
        worker.wait()


def _follow(worker: subprocess.Popen[str], progress: Progress) -> Mapping[str, Any]:
    """Pass on what the process says until it ends; returns all of its messages in one."""
    assert worker.stdout is not None  # a pipe was asked for
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True).start()
    said: dict[str, Any] = {"at": "starting"}
    while True:
        try:
            line = lines.get(timeout=_TICK_S)
        except queue.Empty:
            progress(said["at"])
            continue
        if line is None:
            return said
        said |= json.loads(line)
        progress(said["at"])


def _read(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _why(said: Mapping[str, Any], code: int) -> str | None:
    """Why an attempt gave no engine, None if it did."""
    if "error" in said:
        return str(said["error"])
    if code == -signal.SIGKILL:
        return (
            "the builder was ended by SIGKILL. On a board that is mostly for want of memory: close "
            "other programs, add swap, or build with a smaller --workspace."
        )
    if code < 0:
        return f"TensorRT's builder crashed ({signal.Signals(-code).name})."
    return None if "done" in said and not code else f"the builder ended with code {code}."
