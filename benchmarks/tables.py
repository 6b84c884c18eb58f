"""Markdown tables that read well as plain text too."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

# A unit of letters stands apart, for "720p" is a name.
_FIGURE = re.compile(r"[-−+~≈]?\d[\d,.]*( ?[%×]| [a-zA-Z]{1,3})?$")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A padded Markdown table without a line break at its end.

    Columns that hold figures alone (with a short unit, or empty) are aligned to the right.
    """
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    right = [_is_figures(column[1:]) for column in columns]
    rule = ["-" * (width - 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)]
    return "\n".join(_line(cells, widths, right) for cells in (lines[0], rule, *lines[1:]))


def table_of(rows: Sequence[Mapping[str, object]], keys: Sequence[str]) -> str:
    """A table of rows of a result file, a column for each key; three digits of what is measured."""
    body = [[_cell(row.get(key)) for key in keys] for row in rows]
    return markdown_table([key.replace("_", " ") for key in keys], body)


def number(value: float) -> str:
    """Three significant digits, with thousands apart and no exponent: 0.0123, 1.23, 12,300."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits)}f}"


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float) else "" if value is None else str(value)


def _is_figures(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(_FIGURE.match(cell) for cell in filled)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"
