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
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edge.errors import EngineError, GpuError
from edge.tensorrt.record import Sidecar, parse_sidecar
from edge.tensorrt.store import EngineRequest, Progress
from export.engine.worker import PLAN, RECORD, Order, timing_cache_path

_ROOT = Path(__file__).resolve().parents[2]

_TICK_S = 1.0
"""How often the caller hears that a build is still at the same step."""


def build_engine(request: EngineRequest, progress: Progress) -> tuple[bytes, Sidecar]:
    """Build and prove an engine; implements `edge.tensorrt.store.BuildEngine`.

    Ctrl-C ends the process; nothing is left behind. EngineError where it cannot be built, or is too
    far from the model file; GpuError where no GPU answers.
    """
    with tempfile.TemporaryDirectory(prefix="patchwatch-engine-") as folder:
        order = Order(
            model=request.model.resolve(),
            key=request.key,
            output=Path(folder),
            timings=timing_cache_path(request.folder, request.key.machine),
            labelled=request.labelled and request.labelled.resolve(),
            workspace_bytes=request.workspace_bytes,
        )
        with _worker(order) as worker:
            last = _follow(worker, progress)
        _require(last, worker.returncode)
        record = Path(folder, RECORD).read_text(encoding="utf-8")
        return Path(folder, PLAN).read_bytes(), parse_sidecar(record, "the builder's record")


@contextmanager
def _worker(order: Order) -> Iterator[subprocess.Popen[str]]:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    worker = subprocess.Popen(
        [sys.executable, "-m", "export.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
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
    """Pass on what the process says until it ends; returns its last message."""
    assert worker.stdout is not None  # a pipe was asked for
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True).start()
    message: Mapping[str, Any] = {}
    at = "starting"
    while True:
        try:
            line = lines.get(timeout=_TICK_S)
        except queue.Empty:
            progress(at)
            continue
        if line is None:
            return message
        message = json.loads(line)
        at = message.get("at", at)
        progress(at)


def _read(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _require(last: Mapping[str, Any], code: int) -> None:
    if "error" in last:
        raise (GpuError if last.get("kind") == "GpuError" else EngineError)(last["error"])
    if code < 0:
        name = signal.Signals(-code).name
        raise EngineError(
            f"the builder was ended by {name}. On a board that is mostly for want of memory: close "
            "other programs, add swap, or build with a smaller --workspace."
        )
    if code or "done" not in last:
        raise EngineError(
            f"the builder ended with code {code} before it was done; what it printed stands above."
        )
