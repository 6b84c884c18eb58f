"""The degradations of a report: a column each."""

from __future__ import annotations

from edge.errors import UsageError
from training.degrade import COLUMNS, UNTOUCHED

__all__ = ["COLUMNS", "UNTOUCHED", "choose_columns", "degraded_columns"]


def choose_columns(text: str | None) -> tuple[str, ...]:
    """The columns that a person names, in the order of `COLUMNS`.

    Args:
        text: names with commas between; None for all.

    Raises:
        UsageError: a name is not known.
    """
    if text is None:
        return tuple(COLUMNS)
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in COLUMNS]
    if unknown or not wanted:
        raise UsageError(
            f"--columns: {unknown[0] if unknown else text!r} is no degradation. Expected some of "
            f"{', '.join(COLUMNS)}, with commas between."
        )
    return tuple(name for name in COLUMNS if name in wanted)


def degraded_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Those in which something is done to the picture; all, where nothing else is there."""
    return tuple(name for name in columns if name != UNTOUCHED) or columns
