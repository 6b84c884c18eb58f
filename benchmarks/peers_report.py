"""Tables and plots of the peers, from rows alone."""

from __future__ import annotations

from benchmarks.latency.report import (
    COLUMNS,
    HW,
    Column,
    digits,
    missing,
    number_in,
    plots,
    tables,
)
from benchmarks.section import Rendered, Row

SIZES: tuple[HW, ...] = ((224, 224), (256, 256), (1080, 1920))

INTRODUCTION = (
    "Measured as the latency above: one frame at a time, interleaved, no sample removed. The naive "
    "graph is the published network with nothing folded; *× naive* compares with it in ONNX "
    "Runtime at the same size and number of threads, for ResNet-50 too. ResNet-50 with one output "
    "is what most projects would deploy. It takes 224×224, so that a larger frame loses its "
    "traces of generation in a resize, whose time is not counted here. Its weights are random, as "
    "time does not depend on them. *Frames/s* is what p50 would allow with nothing else to do."
)


def render(rows: list[Row]) -> Rendered:
    """Markdown and plots of the peers section."""
    measured = [row for row in rows if "missing" not in row]
    parts = [INTRODUCTION, *tables(measured, PEER_COLUMNS), *missing(rows)]
    return Rendered("\n\n".join(parts) + "\n", plots(measured, "peers", SIZES))


def _rate(row: Row) -> str:
    return digits(number_in(row, "frames_per_s_at_p50"))


PEER_COLUMNS: tuple[Column, ...] = (
    *(column for column in COLUMNS if not column[0].startswith("copy")),
    ("frames/s", _rate),
)
