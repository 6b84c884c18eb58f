"""What was found in a data set, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from training.data.dataset import DataSet
from training.data.folders import LABEL_WORDS, PictureFolder
from training.data.pictures import Indices, Pictures
from training.data.probe import NOTES

LABELS = ("real", "fake")
"""Names of the labels at their numbers."""

MOST_ROWS = 24
"""Sources shown for a split; the rest is summed up in one row."""

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """The pictures of one source and label in a split.

    Attributes:
        source: its name.
        label: real 0, fake 1.
        pictures: how many can be used.
        sizes: of the smallest, the median and the largest by area; None without pictures.
        formats: how many of each, the most common first.
        left_out: how many cannot be used.
    """

    source: str
    label: int
    pictures: int
    sizes: tuple[Size, Size, Size] | None
    formats: dict[str, int]
    left_out: int


def source_rows(folder: PictureFolder) -> list[SourceRow]:
    """A row for each label and source of a split, also where all of it is left out."""
    used = _by_source(folder.pictures)
    lost = {key: len(places) for key, places in _by_source(folder.rejected.pictures).items()}
    keys = sorted(used.keys() | lost.keys())
    empty = np.zeros(0, np.intp)
    return [_row(folder, key, used.get(key, empty), lost.get(key, 0)) for key in keys]


def found_table(dataset: DataSet) -> Table:
    """A row for each split, label and source: counts, sizes, formats, what is left out."""
    title = escape(f"{dataset.root} ({dataset.layout})")
    table = Table(title=title, box=SIMPLE, pad_edge=False)
    table.add_column("split", no_wrap=True)
    table.add_column("label", no_wrap=True)
    table.add_column("source", overflow="fold", min_width=16)
    table.add_column("used", justify="right")
    table.add_column("least, median, most")
    table.add_column("formats")
    table.add_column("left out", justify="right", min_width=8)
    for split, folder in dataset.splits.items():
        for line in _lines(split, source_rows(folder)):
            table.add_row(*line)
        table.add_section()
    return table


def found_totals(dataset: DataSet) -> str:
    """Pictures of each label in each split, in one line."""
    sums = []
    for split, folder in dataset.splits.items():
        counts = [f"{sum(folder.sources(label).values())} {LABELS[label]}" for label in (0, 1)]
        sums.append(f"{split}: {' and '.join(counts)}")
    return "; ".join(sums)


def found_notes(dataset: DataSet) -> list[str]:
    """Sentences on what the table does not say: odd files, and formats that betray the label."""
    return [n for name, folder in dataset.splits.items() for n in _notes(name, folder)]


def _notes(split: str, folder: PictureFolder) -> Iterator[str]:
    counts = np.bincount(folder.facts.notes, minlength=len(NOTES))
    odd = [f"{count} {text}" for text, count in zip(NOTES, counts, strict=True) if text and count]
    if odd:
        yield f"{split}: {', '.join(odd)}."
    names, formats = folder.facts.format_names, folder.facts.formats
    real, fake = ({names[i] for i in set(formats[folder.pictures.labels == k])} for k in (0, 1))
    if real.isdisjoint(fake):
        yield (
            f"{split}: {LABEL_WORDS[0]} are all {' or '.join(sorted(real))}, {LABEL_WORDS[1]} all "
            f"{' or '.join(sorted(fake))}: the format alone gives the label away. Compress both "
            "alike before learning or judging."
        )


def _by_source(pictures: Pictures) -> dict[tuple[int, str], Indices]:
    """Places of the pictures of each label and source."""
    if not len(pictures):
        return {}
    count = len(pictures.source_names)
    keys = pictures.labels.astype(np.int64) * count + pictures.source_ids
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    groups = np.split(order, starts[1:])
    return {
        (int(key) // count, pictures.source_names[int(key) % count]): group
        for key, group in zip(found, groups, strict=True)
    }


def _row(folder: PictureFolder, key: tuple[int, str], places: Indices, lost: int) -> SourceRow:
    facts = folder.facts
    found, counts = np.unique(facts.formats[places], return_counts=True)
    formats = {facts.format_names[i]: int(n) for i, n in zip(found, counts, strict=True)}
    common = dict(sorted(formats.items(), key=lambda item: -item[1]))
    return SourceRow(key[1], key[0], len(places), _sizes(folder, places), common, lost)


def _sizes(folder: PictureFolder, places: Indices) -> tuple[Size, Size, Size] | None:
    if not len(places):
        return None
    widths, heights = folder.facts.widths[places], folder.facts.heights[places]
    order = np.argsort(widths.astype(np.int64) * heights)
    least, median, most = (
        (int(widths[i]), int(heights[i])) for i in order[[0, len(order) // 2, -1]]
    )
    return least, median, most


def _lines(split: str, rows: Sequence[SourceRow]) -> Iterator[tuple[str, ...]]:
    for number, row in enumerate(rows[:MOST_ROWS]):
        sizes = ", ".join(f"{width}×{height}" for width, height in _unlike(row.sizes))
        formats = ", ".join(f"{name} {count}" for name, count in row.formats.items())
        yield (
            escape(split) if not number else "",
            LABELS[row.label],
            escape(row.source.encode(errors="replace").decode()),
            str(row.pictures),
            sizes,
            formats,
            str(row.left_out) if row.left_out else "",
        )
    rest = rows[MOST_ROWS:]
    if rest:
        lost = sum(row.left_out for row in rest)
        sums = (str(sum(row.pictures for row in rest)), "", "", str(lost) if lost else "")
        yield "", "", f"{len(rest)} more sources", *sums


def _unlike(sizes: tuple[Size, Size, Size] | None) -> Sequence[Size]:
    """All three, or one where they are the same."""
    return [] if sizes is None else list(sizes[: 1 if len(set(sizes)) == 1 else 3])
