"""Builds and proves one engine in a process of its own.

TensorRT keeps memory for as long as a process lives, may be killed where memory is short, and
cannot be interrupted while it builds; none of that shall happen to a program that watches a camera.
The order comes as JSON on stdin; what happens goes out as JSON lines on stdout; the engine and its
record are written into the folder that the order names.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from edge.errors import EngineError, PatchwatchError
from edge.files import write_whole
from edge.labels import STANDARD, LabelFolders
from edge.manifest import read_manifest
from edge.schema import Strict
from edge.tensorrt.record import Build, EngineKey, Machine, Proof, Sidecar
from export.auc import LARGEST_LOSS

PLAN, RECORD = "engine.plan", "engine.json"

Tell = Callable[[str], None]


class Order(Strict):
    model: Path
    key: EngineKey
    output: Path
    timings: Path
    labelled: Path | None = None
    label_folders: LabelFolders = STANDARD
    workspace_bytes: int | None = None
    refused: tuple[str, ...] = ()


def carry_out(order: Order, say: Callable[..., None]) -> Sidecar:
    """Take the first way to the engine that was not refused yet, of those that are said as
    `routes`: build, prove, and write plan and record into the order's output folder.

    EngineError says why it failed; GpuError: no GPU answers.
    """
    from edge.tensorrt.engine import logger  # says what to install where TensorRT is absent

    logger().echo = sys.stderr
    import tensorrt

    from edge.cuda import open_cuda
    from export.engine.plan import plans, read_capabilities

    capabilities = read_capabilities(tensorrt)
    found = plans(capabilities, order.model, order.key.precision)
    say(routes=[plan.route for plan in found])
    with open_cuda() as cuda:
        plan = found[len(order.refused)]
        return _attempt(order, plan, capabilities, cuda, lambda text: say(at=text))


def _attempt(order: Order, plan: Any, capabilities: Any, cuda: Any, tell: Tell) -> Sidecar:
    from edge.memory import available_bytes
    from export.engine.build import build
    from export.engine.plan import workspace

    began = time.monotonic()
    free = cuda.free_bytes()
    if cuda.gpu.integrated:
        free = max(free, min(available_bytes() or 0, cuda.gpu.total_bytes))
    memory = workspace(free, order.workspace_bytes)
    timings = b""
    with suppress(OSError):  # none yet
        timings = order.timings.read_bytes()
    built = build(plan, capabilities, order.key.shape, memory, timings, tell)
    seconds = time.monotonic() - began
    layers, proof = _prove(order, cuda, built.plan, tell)
    _require(proof)
    if built.timing_cache is not None:
        with suppress(PatchwatchError):  # it costs the next build a minute, and nothing else
            write_whole(order.timings, built.timing_cache)
    record = Build(
        route=plan.route,
        source=plan.source.name,
        network_flags=plan.network_flags,
        builder_flags=plan.set_flags,
        pinned=built.pinned,
        layers=layers,
        workspace_bytes=memory,
        seconds=round(seconds, 3),
        warnings=built.warnings,
        refused=order.refused,
    )
    sidecar = Sidecar(
        key=order.key,
        manifest=read_manifest(order.model),
        engine_sha256=hashlib.sha256(built.plan).hexdigest(),
        engine_bytes=len(built.plan),
        build=record,
        proof=proof,
        built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        patchwatch=metadata.version("patchwatch"),
    )
    (order.output / PLAN).write_bytes(built.plan)
    (order.output / RECORD).write_text(sidecar.to_json(), encoding="utf-8")
    return sidecar


def _prove(order: Order, cuda: Any, plan: bytes, tell: Tell) -> tuple[dict[str, str], Proof]:
    from edge.proof import prove
    from edge.tensorrt.engine import EngineContext, LoadedEngine
    from export.engine.proof import measure_loss

    shape = order.key.shape
    with LoadedEngine(cuda, plan, shape, f"engine of {order.model.name}") as engine:
        context = EngineContext(engine, mapped=False)
        try:
            layers = context.layer_types()
            proof = prove(context.infer, order.model, order.key.precision, shape, tell)
            if order.labelled is None or not proof.ok:
                return layers, proof
            loss = measure_loss(
                order.labelled, order.model, context.infer, shape, tell, order.label_folders
            )
            return layers, proof.model_copy(update={"loss": loss})
        finally:
            context.free()


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
        carry_out(Order.model_validate_json(sys.stdin.read()), say)
    except PatchwatchError as error:
        say(error=str(error), kind=type(error).__name__)
        return 1
    except KeyboardInterrupt:
        return 130
    say(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
