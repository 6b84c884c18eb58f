"""The frontier as a Markdown table, and that table in a model card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.charts import size_name
from benchmarks.frontier.record import (
    Frontier,
    Point,
    Work,
    cheapest_first,
    read_frontier,
    sha256_of,
)
from benchmarks.tables import number
from edge.errors import UsageError
from training.evaluation.bootstrap import CONFIDENCE_PERCENT
from training.evaluation.columns import UNTOUCHED
from training.evaluation.metrics import AUC
from training.evaluation.tables import Grid, interval_text

BEGIN, END = "<!-- frontier:begin -->", "<!-- frontier:end -->"
NOT_COUNTED = "–"
COMPRESSED = "mean of compressed"


def snippet(frontier: Frontier) -> str:
    """The table, cheapest model first, and how to read it; no line break at its end."""
    head = ("model", "sees", "parameters", "GFLOP per frame", *frontier.columns, COMPRESSED)
    rows = tuple(_cells(frontier, point) for point in cheapest_first(frontier.models))
    grid = Grid("quality against work", head, rows, words=2)
    return f"{grid.markdown()}\n\n{' '.join(_notes(frontier))}"


def written(card: Path, frontier: Frontier) -> str:
    """The text of a Markdown file with the table between its markers; nothing else differs.

    Raises:
        UsageError: the file is absent, or does not have each marker once, in order.
    """
    before, _, after = _split(card)
    return f"{before}{BEGIN}\n{snippet(frontier)}\n{END}{after}"


def stale(card: Path, frontier: Path, quality: Path | None = None) -> str | None:
    """One sentence where a card's table is out of date; None if it is not.

    Args:
        card: a Markdown file with the markers.
        frontier: a file of `bench frontier --json`.
        quality: the figures that it was made from; if given, compared by their sha256.

    Raises:
        UsageError: one of the files cannot be read, or the card lacks its markers.
    """
    found = read_frontier(frontier)
    if quality is not None and sha256_of(quality) != found.quality.sha256:
        return (
            f"{frontier}: it was made from other figures than those in {quality}. Run 'patchwatch "
            f"bench frontier {quality} --json {frontier} --card {card}'."
        )
    return stale_table(card, found, frontier)


def stale_table(card: Path, frontier: Frontier, source: Path) -> str | None:
    """As `stale`, of figures that have been read or made from `source`."""
    if _split(card)[1].strip() == snippet(frontier).strip():
        return None
    return (
        f"{card}: its table of quality against work is not that of {source}. Run 'patchwatch bench "
        f"frontier {source} --card {card}'."
    )


def sees(point: Point, frontier: Frontier) -> str:
    """A region in words: `native, 720p`, `center:512`, `tiles:512, 6 × 512²`."""
    if point.region == "native":
        return f"native, {size_name(*frontier.frame_hw)}"
    if point.work and point.work.inputs > 1:
        return f"{point.region}, {point.work.inputs} × {size_name(*point.work.input_hw)}"
    return point.region


def _cells(frontier: Frontier, point: Point) -> tuple[str, ...]:
    return (
        point.name,
        sees(point, frontier),
        NOT_COUNTED if point.parameters is None else f"{point.parameters:,}",
        number(point.work.gflops) if point.work else NOT_COUNTED,
        *(interval_text(point.auc.get(name), AUC) for name in frontier.columns),
        interval_text(point.compressed(), AUC),
    )


def _notes(frontier: Frontier) -> Iterator[str]:
    height, width = frontier.frame_hw
    yield (
        f"GFLOP are 2·MACs of all that the model computes for one frame of {width}×{height}, "
        "counted in the graph that is executed; `native` is the whole frame."
    )
    yield (
        f"AUC is the mean over generators, in brackets its {CONFIDENCE_PERCENT:g} % interval. The "
        f"{COMPRESSED} is over all columns but {UNTOUCHED}; its interval is the mean of their ends."
    )
    yield f"Judged {_when(frontier.quality.time, frontier.quality.commit)}."
    for point in frontier.models:
        if point.work is None:
            yield f"{point.name} is not counted: {point.missing}"
        elif not point.work.same_file:
            yield _other_file(point.name, point.work)


def _other_file(name: str, work: Work) -> str:
    return f"{name} is counted in {work.file}, another file of its name than the one judged."


def _when(time: str, commit: str | None) -> str:
    code, dirty, _ = (commit or "").partition("-dirty")
    return f"{time[:10]}, commit `{code[:12]}{dirty}`" if code else time[:10]


def _split(card: Path) -> tuple[str, str, str]:
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{card} cannot be read as text: {error}.") from error
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or END in before:
        raise UsageError(f"{card}: expected one line {BEGIN} and, below it, one line {END}.")
    return before, table, after
