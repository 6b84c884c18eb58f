"""Every file of every shipped model on the same pictures, and what other choices would cost."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod

from benchmarks.results_file import describe_machine
from benchmarks.rounds import Candidate, run_rounds
from benchmarks.section import Row
from benchmarks.stats import bootstrap_ratio, percentiles
from edge.backends import open_backend
from edge.manifest import Calibration, Precision
from edge.regions import parse_region
from edge.schema import code_commit
from edge.sources.images import read_image
from edge.types import Batch
from edge.weights import shipped, variant
from export.auc import Labelled, find_labelled, loss_of
from export.parity import textured
from export.precision.compare import Judge
from export.precision.half import to_half
from export.precision.int8 import to_int8
from export.precision.parts import parts_of
from export.precision.pictures import crops, read_pictures
from export.precision.rounding import one_by_one
from export.precision.variants import PRECISIONS, read_model_file, sign
from training.degrade import COLUMNS, UNTOUCHED
from training.evaluation.record import now

SECONDS = 20.0
"""Of timing, per model."""

NATIVE_HW = (720, 1280)
"""Frames that a model is timed on which looks at whole ones."""


@dataclass(slots=True)
class _Said:
    """What one file said of every picture, in order, by column."""

    logits: dict[str, list[float]] = field(default_factory=dict)
    patches: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Choice:
    """A variant as it might have been made."""

    precision: Precision
    name: str
    make: Callable[[ModelProto, Sequence[Batch]], ModelProto]


def _without_head(model: ModelProto, pictures: Sequence[Batch]) -> ModelProto:
    parts = parts_of(model.graph)
    head = {node.name for node in model.graph.node if node.op_type == "Conv"} & parts.tail
    return to_half(model, replace(parts, tail=parts.tail - head))


def _by_range(
    method: CalibrationMethod, model: ModelProto, pictures: Sequence[Batch]
) -> ModelProto:
    return to_int8(model, pictures, method=method)


_CHOICES = (
    _Choice("fp16", "as shipped", lambda model, _: to_half(model)),
    _Choice("fp16", "weights to their nearest", lambda m, _: to_half(m, rounding=one_by_one)),
    _Choice("fp16", "head in half precision", _without_head),
    _Choice("int8", "as shipped", to_int8),
    _Choice("int8", "weights to their nearest", lambda m, p: to_int8(m, p, rounding=one_by_one)),
    _Choice("int8", "biases as they were", lambda m, p: to_int8(m, p, correct_biases=False)),
    _Choice("int8", "ranges: least and largest", partial(_by_range, CalibrationMethod.MinMax)),
    _Choice("int8", "ranges: entropy", partial(_by_range, CalibrationMethod.Entropy)),
)


def measure(data: Path, calibration: Path, tick: Callable[[str], None]) -> dict[str, Any]:
    """Everything, as it goes into the file."""
    pictures = find_labelled(data)
    rows: list[Row] = []
    choices: list[Row] = []
    for name, path in shipped().items():
        model = read_model_file(path)
        manifest = Judge(model).manifest
        calibrated = read_pictures(calibration, manifest)
        files = _files(path, model, calibrated)
        said = {p: _judged(Judge(m), pictures, tuple(COLUMNS), tick) for p, m in files.items()}
        ratios = _timed(files, parse_region(manifest.region).size)
        for precision, file in files.items():
            row = _row(pictures, said["fp32"], said[precision], manifest.calibration)
            made = precision == "fp32" or variant(path, precision) is not None
            about = {"model": name, "precision": precision, "shipped": made}
            rows.append(about | {"bytes": file.ByteSize()} | row | ratios[precision])
        choices += _choices(name, model, calibrated, pictures, said["fp32"], tick)
    return {
        "schema": 1,
        "theme": "precision",
        "time": now(),
        "commit": code_commit(),
        "machine": describe_machine(),
        "data": _counts(pictures),
        "columns": list(COLUMNS),
        "rows": rows,
        "choices": choices,
    }


def _files(
    path: Path, model: ModelProto, calibrated: Sequence[Batch]
) -> dict[Precision, ModelProto]:
    """The shipped files, and what lacks, made now."""
    files: dict[Precision, ModelProto] = {"fp32": onnx.load_model(str(path))}
    for choice in _CHOICES:
        if choice.name == "as shipped":
            beside = variant(path, choice.precision)
            files[choice.precision] = (
                onnx.load_model(str(beside)) if beside else _made(choice, model, calibrated)
            )
    return files


def _made(choice: _Choice, model: ModelProto, calibrated: Sequence[Batch]) -> ModelProto:
    made = choice.make(model, calibrated)
    sign(made, choice.precision)
    return made


def _judged(
    judge: Judge,
    pictures: Sequence[Labelled],
    columns: Sequence[str],
    tick: Callable[[str], None],
) -> _Said:
    said = _Said()
    region = parse_region(judge.manifest.region)
    for column in columns:
        logits, patches = said.logits.setdefault(column, []), said.patches.setdefault(column, [])
        for picture in pictures:
            (crop,) = crops(COLUMNS[column](read_image(picture.path)), region, None)
            logit, found = judge.evidence(crop)
            logits.append(float(logit[0]))
            patches.append(None if found is None else found[0].astype(np.float32))
        tick(f"{judge.manifest.name} {judge.manifest.precision}, {column}")
    return said


def _row(
    pictures: Sequence[Labelled], reference: _Said, said: _Said, calibration: Calibration
) -> Row:
    losses = {
        column: loss_of(pictures, np.array(reference.logits[column]), np.array(logits), calibration)
        for column, logits in said.logits.items()
    }
    return {
        **_differences(reference, said),
        "agreement": sum(loss.agreement for loss in losses.values()) / len(losses),
        "auc": {column: loss.candidate_auc for column, loss in losses.items()},
        "lost": {column: loss.lost for column, loss in losses.items()},
    }


def _differences(reference: _Said, said: _Said) -> Row:
    columns = list(said.logits)
    exact = np.concatenate([reference.logits[c] for c in columns])
    gap = np.abs(np.concatenate([said.logits[c] for c in columns]) - exact)
    maps = [
        pair
        for column in columns
        for pair in zip(reference.patches[column], said.patches[column], strict=True)
    ]
    patch = [float(np.abs(a - b).max()) for a, b in maps]
    scaled = [x / max(1.0, float(np.abs(a).max())) for x, (a, _) in zip(patch, maps, strict=True)]
    return {
        "max_logit": float(gap.max()),
        "mean_logit": float(gap.mean()),
        "max_patch": max(patch),
        "logit_scaled": float((gap / np.maximum(1, np.abs(exact))).max()),
        "patch_scaled": max(scaled),
    }


def _choices(
    name: str,
    model: ModelProto,
    calibrated: Sequence[Batch],
    pictures: Sequence[Labelled],
    reference: _Said,
    tick: Callable[[str], None],
) -> Iterator[Row]:
    calibration = Judge(model).manifest.calibration
    for choice in _CHOICES:
        said = _judged(Judge(_made(choice, model, calibrated)), pictures, (UNTOUCHED,), tick)
        row = _row(pictures, reference, said, calibration)
        yield {"model": name, "precision": choice.precision, "choice": choice.name} | row


def _timed(files: Mapping[Precision, ModelProto], size: int) -> dict[Precision, Row]:
    """Milliseconds of each, and its median over that of float32, with a 95 % interval."""
    height, width = (size, size) if size else NATIVE_HW
    frames = textured((1, height, width))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        timed = []
        for precision, model in files.items():
            path = Path(folder) / f"{precision}.onnx"
            onnx.save_model(model, str(path))
            backend = stack.enter_context(open_backend(path, threads=1))
            timed.append(Candidate(precision, partial(backend.infer, frames)))
        run_rounds(timed, time.perf_counter() + SECONDS, lambda label: None, 0)
    return {
        precision: {
            "frame_hw": [height, width],
            "p50_ms": percentiles(one.calls_s, (50,))["p50"] * 1e3,
            "ratio": list(bootstrap_ratio(one.rounds_s, timed[0].rounds_s, seed=0)),
        }
        for precision, one in zip(files, timed, strict=True)
    }


def _counts(pictures: Sequence[Labelled]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {"photographs": {}, "generated": {}}
    for picture in pictures:
        group = counts["generated" if picture.label else "photographs"]
        group[picture.source] = group.get(picture.source, 0) + 1
    return counts


def steps() -> int:
    """How many times `measure` ticks."""
    return len(shipped()) * (len(PRECISIONS) * len(COLUMNS) + len(_CHOICES))
