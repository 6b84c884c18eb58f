"""The end of a training: calibrate the best model, and write what it does on its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.manifest import Calibration, Figure
from training.calibration import alarm_share, calibrate
from training.checkpoint import card_path, load_checkpoint, save_checkpoint
from training.evaluation import Evaluation

AUC = "mean auc per generator"
FALSE_ALARMS = "photographs above the threshold"
FOUND = "generated pictures above it"


def finish(
    path: Path, evaluation: Evaluation, columns: Sequence[str], view: str, out: Console
) -> None:
    """Calibrate a checkpoint, add calibration and figures to its card, and print them.

    Args:
        path: the checkpoint.
        evaluation: of it, on pictures that were not trained on, under all columns to report.
        columns: of these, the ones to calibrate under.
        view: what of a picture was scored, in words.
        out: where people read.

    Raises:
        ModelError: it cannot be calibrated; the AUCs are printed, and it stays as it is.
    """
    _print_aucs(evaluation, view, out)
    calibration = calibrate(evaluation.restricted_to(columns))
    model, card = load_checkpoint(path)
    update = {"calibration": calibration, "validation": _figures(evaluation, calibration, view)}
    save_checkpoint(path, model, card.model_copy(update=update))
    _print_alarms(evaluation, calibration, out)
    out.print(f"Calibrated and kept as {path} and {card_path(path).name}.")


def auc_table(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """AUC per degradation and generator."""
    return {name: evaluation.generator_aucs(name) for name in evaluation.logits}


def _figures(evaluation: Evaluation, calibration: Calibration, view: str) -> tuple[Figure, ...]:
    data = f"validation pictures ({evaluation.describe()}), {view}"
    figures = []
    for name in evaluation.logits:
        values = {
            AUC: evaluation.mean_auc([name]),
            FALSE_ALARMS: alarm_share(evaluation.of_label(name, 0), calibration),
            FOUND: alarm_share(evaluation.of_label(name, 1), calibration),
        }
        figures += [
            Figure(data=data, degradation=name, metric=metric, value=round(value, 4))
            for metric, value in values.items()
        ]
    return tuple(figures)


def _print_aucs(evaluation: Evaluation, view: str, out: Console) -> None:
    table = Table("AUC", *evaluation.logits, title=f"Validation pictures, {view}")
    aucs = auc_table(evaluation)
    for name in evaluation.source_names(1):
        table.add_row(name, *(f"{aucs[column][name]:.3f}" for column in aucs))
    means = [f"{evaluation.mean_auc([column]):.3f}" for column in aucs]
    table.add_row("mean", *means, style="bold")
    out.print(table)


def _print_alarms(evaluation: Evaluation, calibration: Calibration, out: Console) -> None:
    table = Table("Above the threshold", *evaluation.logits)
    for label, kind in enumerate(("photographs", "generated")):
        for name in evaluation.source_names(label):
            logits = [evaluation.of_source(column, label, name) for column in evaluation.logits]
            shares = [f"{alarm_share(x, calibration):.1%}" for x in logits]
            table.add_row(f"{name} ({kind})", *shares)
    out.print(table)
    out.print(
        f"Temperature {calibration.temperature:.4g}, bias {calibration.bias:.4g}, threshold "
        f"{calibration.threshold:.3f}, all fitted on these pictures."
    )
