"""Builds and proves one engine in a process of its own.

TensorRT keeps memory for as long as a process lives, may be killed where memory is short, and
cannot be interrupted while it builds; none of that shall happen to a program that watches a camera.
The order comes as JSON on stdin; what happens goes out as JSON lines on stdout; the engine and its
record are written into the folder that the order names.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from edge.errors import EngineError, MissingDependency, PatchwatchError
from edge.manifest import Manifest
from edge.tensorrt.record import Build, EngineKey, Machine, Proof, Sidecar
from export.auc import LARGEST_LOSS

PLAN, RECORD = "engine.plan", "engine.json"

Tell = Callable[[str], None]


class Order(BaseModel):
    """What the process is told to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    key: EngineKey
    output: Path
    timings: Path
    labelled: Path | None = None
    workspace_bytes: int | None = None


def carry_out(order: Order, tell: Tell) -> Sidecar:
    """Build, prove, and write plan and record into the order's output folder.

    Raises:
        EngineError: no way to the engine succeeds; the message says why each failed.
        MissingDependency: TensorRT or a library for CUDA is not installed.
        GpuError: no GPU answers.
    """
    trt = import_tensorrt()
    from edge.cuda import open_cuda
    from export.engine.plan import plans, read_capabilities

    capabilities = read_capabilities(trt)
    refused: list[str] = []
    with open_cuda() as cuda:
        for plan in plans(capabilities, order.model, order.key.precision):
            attempt = _Attempt(order, capabilities, cuda, tell)
            try:
                return attempt.make(plan, refused)
            except EngineError as error:
                refused.append(f"{plan.route}: {error}")
    raise EngineError(" Then: ".join(refused))


class _Attempt:
    def __init__(self, order: Order, capabilities: Any, cuda: Any, tell: Tell) -> None:
        self._order = order
        self._capabilities = capabilities
        self._cuda = cuda
        self._tell = tell

    def make(self, plan: Any, refused: Sequence[str]) -> Sidecar:
        from export.engine.build import build
        from export.engine.plan import workspace

        key, began = self._order.key, time.monotonic()
        memory = workspace(self._cuda.free_bytes(), self._order.workspace_bytes)
        timings = _read(self._order.timings)
        built = build(plan, self._capabilities, key.shape, memory, timings, self._tell)
        seconds = time.monotonic() - began
        proof, manifest = self._prove(built.plan)
        _require(proof)
        if built.timing_cache is not None:
            _keep(self._order.timings, built.timing_cache)
        record = Build(
            route=plan.route,
            source=plan.source.name,
            network_flags=plan.network_flags,
            builder_flags=plan.set_flags,
            pinned=built.pinned,
            workspace_bytes=memory,
            seconds=round(seconds, 3),
            warnings=built.warnings,
            refused=tuple(refused),
        )
        return self._write(built.plan, record, proof, manifest)

    def _prove(self, plan: bytes) -> tuple[Proof, Manifest]:
        from edge.tensorrt.session import Session
        from export.engine.proof import prove, read_manifest

        order = self._order
        with Session(self._cuda, plan, order.key.shape, f"engine of {order.model.name}") as session:
            memory = session.memory(mapped=False)
            try:

                def infer(frames: Any) -> Any:
                    return session.infer(memory, frames)

                proof = prove(infer, order.model, order.key.precision, order.key.shape, self._tell)
                manifest = read_manifest(order.model)
                if order.labelled is not None and proof.ok:
                    proof = self._with_loss(proof, infer)
            finally:
                memory.free()
        return proof, manifest

    def _with_loss(self, proof: Proof, infer: Any) -> Proof:
        from export.engine.proof import measure_loss

        order = self._order
        assert order.labelled is not None  # asked for by the caller
        loss = measure_loss(order.labelled, order.model, infer, order.key.shape, self._tell)
        return proof.model_copy(update={"loss": loss})

    def _write(self, plan: bytes, build: Build, proof: Proof, manifest: Manifest) -> Sidecar:
        import hashlib

        sidecar = Sidecar(
            key=self._order.key,
            manifest=manifest,
            engine_sha256=hashlib.sha256(plan).hexdigest(),
            engine_bytes=len(plan),
            build=build,
            proof=proof,
            built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            patchwatch=metadata.version("patchwatch"),
        )
        (self._order.output / PLAN).write_bytes(plan)
        (self._order.output / RECORD).write_text(sidecar.to_json(), encoding="utf-8")
        return sidecar


def _require(proof: Proof) -> None:
    if not proof.ok:
        patch = "" if proof.max_patch is None else f" and {proof.max_patch:.2g} in a patch logit"
        raise EngineError(
            f"the engine differs from the model file by {proof.max_logit:.2g} in a logit{patch} on "
            f"{proof.frames} frames, where {proof.logit_bound:g} and {proof.patch_bound:g} are "
            f"allowed (relative above 1); {100 * proof.agreement:.0f} % of the verdicts agree. It "
            "was not installed."
        )
    loss = proof.loss
    if loss is not None and loss.reference_auc - loss.engine_auc > LARGEST_LOSS:
        raise EngineError(
            f"the engine's mean AUC per generator on {loss.pictures} pictures of {loss.data} is "
            f"{loss.engine_auc:.4f}, the model file's {loss.reference_auc:.4f}; it may cost "
            f"{LARGEST_LOSS}. It was not installed. Choose --precision fp16."
        )


def import_tensorrt() -> Any:
    """The module `tensorrt`.

    Raises:
        MissingDependency: it is not installed, or its libraries are not.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise MissingDependency(
            f"TensorRT ({error})",
            "build an engine",
            "sudo apt install python3-libnvinfer on a Jetson, in a virtual environment made with "
            "--system-site-packages; elsewhere pip install tensorrt-cu12",
        ) from error
    return tensorrt


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _keep(path: Path, data: bytes) -> None:
    """For the next build; what cannot be kept costs it a minute, and nothing else."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        os.replace(beside, path)
    with suppress(OSError):
        beside.unlink()


def timing_cache_path(folder: Path, machine: Machine) -> Path:
    """Where the timings of kernels of a machine are kept."""
    major, minor = machine.compute_capability
    gpu = "".join(c if c.isalnum() else "-" for c in machine.gpu)
    return folder / f"timings-{machine.tensorrt}-{gpu}-sm{major}{minor}.cache"


def main() -> int:
    """Carry out the order on stdin; 0 done, 1 refused (the reason is the last line)."""
    # Libraries write to stdout as they like; what they write must not come between the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def say(**message: object) -> None:
        lines.write(json.dumps(message) + "\n")

    try:
        carry_out(Order.model_validate_json(sys.stdin.read()), lambda text: say(at=text))
    except PatchwatchError as error:
        say(error=str(error), kind=type(error).__name__)
        return 1
    except KeyboardInterrupt:
        return 130
    say(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
