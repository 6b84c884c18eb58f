"""Chooses what runs a model file on this machine's CPU: what is fastest without another verdict.

ONNX Runtime in float32 is what everything else is measured beside, and what stays where nothing is
faster. The choice is kept for this machine, model, size of frames, versions and threads.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib import metadata, util
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from edge.backends.base import Backend, BackendChoice, folder_of
from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.errors import ModelError, PatchwatchError, SinkError
from edge.files import sha256_of, write_whole
from edge.manifest import Precision, read_manifest
from edge.proof import proof_frames
from edge.regions import parse_region
from edge.schema import Strict
from edge.types import Batch

log = logging.getLogger(__name__)

CANDIDATES: tuple[Precision, ...] = ("fp16", "fp32")
"""Of OpenVINO; int8 moves more verdicts than anyone would expect unasked."""

PAYS = 0.95
"""Share of ONNX Runtime's time that something else may take to be chosen."""

QUICK_MS = 5.0
"""A frame that takes less needs nothing faster."""

LATE = "not timed, as the machine is too busy or too slow for it"

MOST_PIXELS = 8_300_000
"""Of a frame in a timing, as many as 4K has: beyond, a round takes minutes."""

TIMING_S, LEAST_ROUNDS, MOST_ROUNDS = 1.5, 3, 20
LATEST_S = 3.5
"""After this long no further candidate is opened."""


class Timed(Strict):
    """OpenVINO in a precision, beside ONNX Runtime in float32 on the same frame."""

    precision: Precision
    ratio: float | None = Field(default=None, description="Median ratio of times; null: refused.")
    refused: str | None = Field(default=None, description="Why it was not timed.")

    def __str__(self) -> str:
        found = self.refused or f"{self.ratio:.2f} × its time"
        return f"OpenVINO, {self.precision}: {found}"


class Choice(Strict):
    """What was chosen, and from what."""

    schema_version: Literal[1] = 1
    backend: Literal["onnxruntime", "openvino"] = "onnxruntime"
    precision: Precision = "fp32"
    onnxruntime_ms: float | None = Field(default=None, description="Median of one frame.")
    timed: tuple[Timed, ...] = ()
    reason: str

    def __str__(self) -> str:
        return f"{self.backend}, {self.precision}: {self.reason}"


def open_model(path: Path, choice: BackendChoice) -> Backend:
    """The backend of a choice; see `edge.backends.open_backend`."""
    chosen = choose(path, choice)
    if chosen.backend == "openvino":
        from edge.backends import openvino

        try:
            return openvino.open_model(path, replace(choice, precision=chosen.precision))
        except PatchwatchError as error:
            log.warning("using ONNX Runtime, as OpenVINO was chosen and does not open: %s", error)
    return OnnxRuntimeBackend(path, choice.threads)


def choose(path: Path, choice: BackendChoice) -> Choice:
    """What runs a model file fastest here, from the cache or timed now, in some seconds.

    Raises:
        ModelError: ONNX Runtime cannot run the file.
    """
    if util.find_spec("openvino") is None:
        return Choice(reason="OpenVINO is not installed (pip install 'patchwatch[openvino]')")
    region = choice.region or parse_region(read_manifest(path).region)
    folder = folder_of(
        "auto",
        *_cpu(),
        *(metadata.version(name) for name in ("onnxruntime", "openvino", "patchwatch")),
        sha256_of(path),
        str(region),
        f"{choice.threads} threads, {choice.precision}",
    )
    kept = folder / "choice.json"
    with suppress(OSError, UnicodeDecodeError, ValidationError):
        return Choice.model_validate_json(kept.read_text("utf-8"))
    found = _measured(path, replace(choice, region=region))
    if found.timed:
        log.info("the backend for this machine was chosen: %s", found)
    # A busy moment must not decide for all later ones.
    if found.timed and not any(each.refused == LATE for each in found.timed):
        with suppress(SinkError):
            write_whole(kept, found.model_dump_json(indent=2) + "\n")
    return found


def _measured(path: Path, choice: BackendChoice) -> Choice:
    from edge.backends import openvino

    until = time.monotonic() + LATEST_S
    assert choice.region is not None  # `choose` fills it in
    height, width = openvino.typical_hw(choice.region)
    if height * width > MOST_PIXELS:
        return Choice(reason=f"{width}×{height} pixels at once are too many to be timed")
    noise = next(islice(proof_frames(height, width), 2, None))
    frame = noise[None]
    with ExitStack() as stack:
        ours = stack.enter_context(OnnxRuntimeBackend(path, choice.threads))
        try:
            own_ms = min([_once_ms(ours, frame) for _ in range(4)][1:])
        except ModelError:  # of a fixed size, which is not this
            return Choice(reason="it takes frames of one size only")
        if own_ms < QUICK_MS:
            return Choice(reason=f"{own_ms:.1f} ms for a frame, which needs nothing faster")
        opened: dict[Precision, Backend] = {}
        timed: list[Timed] = []
        for precision in (choice.precision,) if choice.precision else CANDIDATES:
            found: Backend | str = LATE
            if time.monotonic() < until:
                choice.progress(f"timing OpenVINO, {precision}")
                found = _candidate(path, replace(choice, precision=precision))
            if isinstance(found, str):
                timed.append(Timed(precision=precision, refused=found))
            else:
                opened[precision] = stack.enter_context(found)
        return _fastest(ours, opened, timed, frame)


def _candidate(path: Path, choice: BackendChoice) -> Backend | str:
    """OpenVINO in a precision, or why not."""
    from edge.backends import openvino

    if choice.precision == "fp16" and openvino.half_of(openvino.load_core(), "cpu") is None:
        return "this CPU does not compute in half precision"
    try:
        backend = openvino.open_model(path, choice)
    except PatchwatchError as error:
        return str(error)
    proof = backend.proof
    if openvino.keeps_verdicts(proof) or proof is None:
        return backend
    with backend:
        return f"it moves a logit by {proof.mean_logit:.2g} on average, which changes verdicts"


def _fastest(
    ours: Backend, opened: Mapping[Precision, Backend], refused: Sequence[Timed], frame: Batch
) -> Choice:
    """Time what may be used in interleaved rounds."""
    for backend in opened.values():
        backend.infer(frame)
    rounds: list[list[float]] = []
    until = time.monotonic() + TIMING_S
    while len(rounds) < MOST_ROUNDS and (len(rounds) < LEAST_ROUNDS or time.monotonic() < until):
        rounds.append([_once_ms(backend, frame) for backend in (ours, *opened.values())])
    times_ms = np.array(rounds)
    own_ms = float(np.median(times_ms[:, 0]))
    ratios = np.median(times_ms / times_ms[:, :1], axis=0)[1:].tolist()
    timed = [Timed(precision=name, ratio=r) for name, r in zip(opened, ratios, strict=True)]
    ratio, precision = min(zip(ratios, opened, strict=True), default=(math.inf, None))
    everything = (*timed, *refused)
    if precision is None or ratio > PAYS:
        why = "; ".join(map(str, everything))
        return Choice(onnxruntime_ms=own_ms, timed=everything, reason=f"nothing is faster ({why})")
    return Choice(
        backend="openvino",
        precision=precision,
        onnxruntime_ms=own_ms,
        timed=everything,
        reason=f"{ratio:.2f} × the time of ONNX Runtime in float32 ({own_ms:.0f} ms a frame)",
    )


def _once_ms(backend: Backend, frame: Batch) -> float:
    began = time.perf_counter()
    backend.infer(frame)
    return (time.perf_counter() - began) * 1e3


def _cpu() -> tuple[str, ...]:
    """What tells this machine's CPU from another: its name and what it can do, and its cores."""
    text = ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    about = re.findall(r"^(?:model name|flags|Features|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    return platform.machine(), *sorted(set(about)), str(os.cpu_count())
