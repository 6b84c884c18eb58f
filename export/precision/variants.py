"""The files of one model at the precisions that were asked for, each checked before any is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto
from rich.table import Table

from edge.errors import ModelError, UsageError
from edge.labels import STANDARD, LabelFolders
from edge.manifest import Precision
from edge.types import Batch
from export import auc, compare
from export.auc import Loss
from export.compare import Judge
from export.graph import embed, manifest_in
from export.lint import check
from export.precision.half import half_between, to_half
from export.precision.int8 import to_int8
from export.precision.parts import name_front
from export.precision.pictures import fixed_shape, read_pictures


@dataclass
class Watch:
    """Shows people what is done now, and a finished comparison."""

    at: Callable[[str], None]
    show: Callable[[Table], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made, with a folder of pictures to calibrate int8 on, and one to measure the
    loss of AUC on, `0_real/…` and `1_fake/…`.
    """

    precisions: tuple[Precision, ...]
    calibration: Path | None = None
    labelled: Path | None = None
    label_folders: LabelFolders = STANDARD


TWIN = "int8.fp16"
"""int8 with half precision in place of float32, for TensorRT from 10 on; made with int8."""


def file_of(path: Path, precision: str) -> Path:
    """Where a precision lies: `model.onnx`, `model.fp16.onnx`, `model.int8.onnx`, and int8's twin
    `model.int8.fp16.onnx`.
    """
    return path if precision == "fp32" else path.with_suffix(f".{precision}{path.suffix}")


def read_model_file(path: Path) -> ModelProto:
    """Read a float32 model file as the source of others.

    ModelError if it cannot be read or is no ONNX, UsageError if it is of another precision,
    ContractError if it breaks the contract.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # protobuf's, whose module has no types
        raise ModelError(f"{path} is no ONNX file. Copy or export it again.") from error
    precision = manifest_in(model, str(path)).precision
    if precision != "fp32":
        raise UsageError(f"{path} is of {precision}. Give the float32 file that it was made from.")
    name_front(model.graph)
    check(model, path.name)
    return model


def make_variants(model: ModelProto, wanted: Wanted, watch: Watch) -> dict[str, bytes]:
    """The files, none of which is past its bounds, of the float32 file's linted graph.

    Raises as `require_pictures` and `read_pictures` do, and ModelError where a file cannot be made,
    is too far from the float32 one or costs too much AUC.
    """
    require_pictures(wanted)
    made: dict[str, bytes] = {}
    if "fp32" in wanted.precisions:
        made["fp32"] = model.SerializeToString()
    others = [name for name in wanted.precisions if name != "fp32"]
    if others:
        pictures = _pictures(model, wanted, watch)
        reference = Judge(model)
        for name in others:
            variant = _variant(model, name, pictures, watch)
            both = {name: variant} | ({TWIN: make_twin(variant)} if name == "int8" else {})
            for which, each in both.items():
                judge = Judge(each)
                judge.name = which
                _prove(reference, judge, pictures, wanted, watch)
                made[which] = each.SerializeToString()
    return made


def require_pictures(wanted: Wanted) -> None:
    """Refuse at once what would only fail after minutes: UsageError for int8 without pictures to
    calibrate on, SourceError for a labelled folder that lacks a label.
    """
    if "int8" in wanted.precisions and wanted.calibration is None:
        raise UsageError(
            "--precision int8 needs the range of every value on pictures of the kind that will be "
            "watched: give a folder with a hundred or more as --calibration."
        )
    if wanted.labelled is not None:
        auc.find_labelled(wanted.labelled, wanted.label_folders)


def _pictures(model: ModelProto, wanted: Wanted, watch: Watch) -> Sequence[Batch]:
    """Those to calibrate and to compare on; without a folder of them, none."""
    folder = wanted.calibration or wanted.labelled
    if folder is None:
        return ()
    return read_pictures(
        folder,
        manifest_in(model, "the model"),
        fixed_shape(model.graph),
        lambda done, total: watch.at(f"reading {folder}, picture {done + 1} of {total}"),
    )


def _variant(
    model: ModelProto, precision: Precision, pictures: Sequence[Batch], watch: Watch
) -> ModelProto:
    watch.at(f"making {precision}")
    if precision == "fp16":
        made = to_half(model)
    else:
        progress = "calibrating int8, picture {} of {}"
        made = to_int8(model, pictures, lambda n, of: watch.at(progress.format(n + 1, of)))
    sign(made, precision)
    check(made, precision)
    return made


def make_twin(quantised: ModelProto) -> ModelProto:
    """The twin of an int8 file, with its manifest; linted."""
    check(made := half_between(quantised), TWIN)
    return made


def sign(made: ModelProto, precision: Precision) -> None:
    """Let a converted graph's manifest say its precision, without quality figures of float32's."""
    changes: dict[str, object] = {"precision": precision, "validation": ()}
    embed(made, manifest_in(made, "the model").model_copy(update=changes))


def _prove(
    reference: Judge,
    candidate: Judge,
    pictures: Sequence[Batch],
    wanted: Wanted,
    watch: Watch,
) -> None:
    precision = candidate.name
    rows = compare.compare_files(
        reference, candidate, pictures, lambda text: watch.at(f"{precision}: {text}")
    )
    watch.show(compare.table(rows))
    compare.require(rows)
    if wanted.labelled is not None:
        loss = auc.compare(
            wanted.labelled,
            reference,
            candidate,
            reference.manifest.calibration,
            lambda done, total: watch.at(f"{precision}: judging picture {done} of {total}"),
            wanted.label_folders,
        )
        watch.show(loss_table(loss, precision))
        auc.require(loss, wanted.labelled, precision)


def loss_table(loss: Loss, precision: str) -> Table:
    """AUC of each generator, of float32 and of the other precision, and their means."""
    out = Table("generator", "pictures", "AUC fp32", f"AUC {precision}", "lost")
    out.caption = (
        f"{sum(loss.photographs.values())} photographs; {100 * loss.agreement:.1f} % of the "
        f"verdicts agree; {auc.LARGEST_LOSS} of the mean may be lost"
    )
    rows = [(n, loss.generated[n], loss.reference[n], loss.candidate[n]) for n in loss.reference]
    mean = ("mean", sum(loss.generated.values()), loss.reference_auc, loss.candidate_auc)
    for name, pictures, before, after in [*rows, mean]:
        figures = f"{before:.4f}", f"{after:.4f}", f"{before - after:+.4f}"
        out.add_row(name, str(pictures), *figures)
    return out
