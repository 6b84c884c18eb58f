"""The figures as tables of a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.tables import markdown_table, number
from edge.errors import UsageError
from training.degrade import UNTOUCHED

_BLOCK = re.compile(r"(<!-- precision:begin (\w+) -->\n)(.*?)(<!-- precision:end -->)", re.DOTALL)

Result = Mapping[str, Any]
"""A file of figures as JSON gives it."""


def tables(result: Result) -> dict[str, str]:
    """Name in a marker → Markdown."""
    return {
        "differences": _difference_table(result),
        "auc": _auc_table(result),
        "choices": _choice_table(result),
        "about": _about(result),
    }


def _name(row: Result) -> str:
    return f"{row['model']} {row['precision']}" + ("" if row["shipped"] else " (not shipped)")


def _difference_table(result: Result) -> str:
    head = ["file", "bytes", "max Δ logit", "mean Δ logit", "max Δ patch"]
    head += ["scaled", "same verdict", "time on a CPU"]
    return markdown_table(head, [_difference_cells(row) for row in result["rows"]])


def _difference_cells(row: Result) -> list[str]:
    figures = [row["max_logit"], row["mean_logit"], row["max_patch"]]
    scaled = max(row["logit_scaled"], row["patch_scaled"])
    ratio = f"{row['ratio'][0]:.2f} ×"
    if row["precision"] == "fp32":
        return [_name(row), f"{row['bytes']:,}", "", "", "", "", "", ratio]
    cells = [number(x) for x in (*figures, scaled)]
    return [_name(row), f"{row['bytes']:,}", *cells, f"{100 * row['agreement']:.1f} %", ratio]


def _auc_table(result: Result) -> str:
    columns = result["columns"]
    rows = [[_name(r), *(f"{r['auc'][column]:.4f}" for column in columns)] for r in result["rows"]]
    return markdown_table(["file", *columns], rows)


def _choice_table(result: Result) -> str:
    head = ["model", "precision", "choice", "max Δ logit", "mean Δ logit", "AUC lost"]
    rows = [
        [
            row["model"],
            row["precision"],
            row["choice"],
            number(row["max_logit"]),
            number(row["mean_logit"]),
            f"{row['lost'][UNTOUCHED]:+.4f}",
        ]
        for row in result["choices"]
    ]
    return markdown_table(head, rows)


def _about(result: Result) -> str:
    sides = [
        f"{sum(group.values())} {name} ({', '.join(f'{k} {v}' for k, v in sorted(group.items()))})"
        for name, group in result["data"].items()
    ]
    machine, (commit, dash, dirty) = result["machine"], result["commit"].partition("-")
    return (
        f"{' and '.join(sides)}; {result['time'][:10]}, commit "
        f"`{commit[:12]}{dash}{dirty}`; {machine['cpu']}, ONNX Runtime "
        f"{machine['libraries']['onnxruntime']}."
    )


def filled(card: Path, result: Result) -> str:
    """The text of a page with its tables between `<!-- precision:begin NAME -->` and `…:end -->`.

    Raises:
        UsageError: it cannot be read, or has no such markers.
    """
    try:
        text = card.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{card} cannot be read: {error.strerror or error}.") from error
    known = tables(result)
    names = [found[2] for found in _BLOCK.finditer(text)]
    if not names or not set(names) <= set(known):
        raise UsageError(f"{card}: expected markers of some of {', '.join(known)}, found {names}.")
    return _BLOCK.sub(lambda found: f"{found[1]}{known[found[2]]}\n{found[4]}", text)
