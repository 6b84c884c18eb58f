"""The end of a training: calibrate the best model, and write what it does on its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.manifest import Calibration
from training.calibration import alarm_share, calibrate, figures
from training.checkpoint import card_path, load_checkpoint, save_checkpoint
from training.evaluation import Evaluation


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
    measured = figures(evaluation, calibration, view=view)
    update = {"calibration": calibration, "validation": measured}
    save_checkpoint(path, model, card.model_copy(update=update))
    _print_alarms(evaluation, calibration, out)
    out.print(f"Calibrated and kept as {path} and {card_path(path).name}.")


def _print_aucs(evaluation: Evaluation, view: str, out: Console) -> None:
    table = Table("AUC", *evaluation.logits, title=f"Validation pictures, {view}")
    aucs = {name: evaluation.generator_aucs(name) for name in evaluation.logits}
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
