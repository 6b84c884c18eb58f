"""Tables of a Markdown file (a model card) that are written from one file of figures.

A table stands between `<!-- figures:begin NAME -->` and `<!-- figures:end -->`. NAME is `about`,
`false alarms per source`, `differences`, a measure (mean per generator: models by degradations), or
a measure and `per generator`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge.errors import UsageError
from training.evaluation.metrics import METRICS
from training.evaluation.summary import Summary, read_summary
from training.evaluation.tables import (
    about,
    alarms_grid,
    comparison_grid,
    generator_grid,
    mean_grid,
    notes,
)
from training.evaluation.whole_files import write_all

_BEGIN = re.compile(r"<!-- figures:begin (.+?) -->")
_END = "<!-- figures:end -->"
_BLOCK = re.compile(rf"({_BEGIN.pattern}\n)(.*?)({re.escape(_END)})", re.DOTALL)


def write_card(card: Path, summary: Summary) -> bool:
    """Rewrite every table of a file; nothing else in it changes.

    Args:
        card: a Markdown file with markers.
        summary: where all its figures come from.

    Returns:
        Whether anything was different.

    Raises:
        UsageError: the file cannot be read, has no markers or unpaired ones, or names no table.
        SinkError: it cannot be written.
    """
    old = _read(card)
    new = _filled(card, old, summary)
    if new != old:
        write_all(card.parent, {card.name: new.encode()})
    return new != old


def stale(card: Path, figures: Path) -> str | None:
    """One sentence where a card's tables are not those of a file of figures; None if they are.

    Args:
        card: a Markdown file with markers.
        figures: `evaluation.json` or its compact form.

    Raises:
        UsageError: one of the two cannot be read, as `write_card`.
    """
    text = _read(card)
    if _filled(card, text, read_summary(figures)[0]) == text:
        return None
    return (
        f"{card}: its tables are not those of {figures}. Run 'patchwatch evaluate --from {figures} "
        f"--card {card}'."
    )


def tables() -> dict[str, Callable[[Summary], str]]:
    """Name in a marker → what makes its Markdown."""
    made: dict[str, Callable[[Summary], str]] = {
        "about": _about,
        "false alarms per source": lambda summary: alarms_grid(summary).markdown(),
        "differences": _differences,
    }
    for metric in METRICS:
        made[metric] = partial(_mean, metric)
        made[f"{metric} per generator"] = partial(_generators, metric)
    return made


def _mean(metric: str, summary: Summary) -> str:
    return mean_grid(summary, metric).markdown()


def _generators(metric: str, summary: Summary) -> str:
    return generator_grid(summary, metric).markdown()


def _about(summary: Summary) -> str:
    return " ".join([about(summary), *notes(summary)])


def _differences(summary: Summary) -> str:
    grid = comparison_grid(summary)
    return grid.markdown() if grid else "One model was judged, so that there is no difference."


def _read(card: Path) -> str:
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{card} cannot be read as text: {error}.") from error


def _filled(card: Path, text: str, summary: Summary) -> str:
    blocks = _BLOCK.findall(text)
    begins, ends = len(_BEGIN.findall(text)), text.count(_END)
    if not blocks or not len(blocks) == begins == ends:
        raise UsageError(
            f"{card}: expected each <!-- figures:begin NAME --> on a line of its own and followed "
            f"by one {_END}, found {begins} beginnings and {ends} ends."
        )
    known = tables()
    for _, name, _, _ in blocks:
        if name not in known:
            raise UsageError(f"{card}: no table {name!r}. Expected one of {', '.join(known)}.")
    return _BLOCK.sub(lambda found: f"{found[1]}{known[found[2]](summary)}\n{found[4]}", text)
