"""How much of what a prepared set holds, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from training.faces.sets import LABELS, SPLITS, Video

_MOST_WIDTH = 10_000
"""Characters of a row that is not shown on a terminal."""

Kind = tuple[str, str, str, str]
"""Source, split, label and manipulation."""


@dataclass(frozen=True, slots=True)
class Count:
    """One row.

    Attributes:
        kind: source, split, label, and manipulation ("" if none).
        videos: how many.
        frames: that were looked at.
        faces: crops.
        without_face: frames in which no face was found.
        videos_without: videos in which none was found at all.
    """

    kind: Kind
    videos: int
    frames: int
    faces: int
    without_face: int
    videos_without: int


def counts(videos: Sequence[Video]) -> list[Count]:
    """A row for each source, split, label and manipulation that there is."""
    kinds = sorted({_kind(video) for video in videos}, key=_order)
    return [_count(kind, [v for v in videos if _kind(v) == kind]) for kind in kinds]


def show_counts(videos: Sequence[Video], out: Console) -> None:
    """Print the table with its sums; in a file its rows are never broken."""
    table = _table(counts(videos))
    if not out.is_terminal:
        unbounded = out.options.update(max_width=_MOST_WIDTH)
        out.width = max(out.width, Measurement.get(out, unbounded, table).maximum)
    out.print(table)


def _table(rows: Sequence[Count]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, show_footer=len(rows) > 1)
    for name, footer in zip(
        ("set", "split", "label", "manipulation"), ("all", "", "", ""), strict=True
    ):
        table.add_column(name, footer=footer, no_wrap=True)
    numbers = ("videos", "frames", "faces", "without a face", "videos without any")
    sums = [sum(column) for column in zip(*(_numbers(row) for row in rows), strict=True)]
    for name, total in zip(numbers, sums, strict=True):
        table.add_column(name, footer=str(total), justify="right")
    for row in rows:
        table.add_row(*row.kind, *map(str, _numbers(row)))
    return table


def _numbers(row: Count) -> tuple[int, ...]:
    return row.videos, row.frames, row.faces, row.without_face, row.videos_without


def _kind(video: Video) -> Kind:
    return video.source, video.split, video.label, video.manipulation or ""


def _order(kind: Kind) -> tuple[str, int, int, str]:
    source, split, label, manipulation = kind
    return source, [*SPLITS].index(split), [*LABELS].index(label), manipulation  # type: ignore[arg-type]


def _count(kind: Kind, videos: Sequence[Video]) -> Count:
    def total(values: Iterator[int]) -> int:
        return sum(values)

    return Count(
        kind,
        len(videos),
        total(video.frames for video in videos),
        total(video.faces for video in videos),
        total(video.without_face for video in videos),
        total(not video.faces for video in videos),
    )
