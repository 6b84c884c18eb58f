"""How much work a picture is: parameters, MACs, FLOPs (= 2·MACs), memory traffic, intensity.

Counted, never timed: the same figures come out on every machine. torch and onnx are imported by the
count alone: a board without them gets rows that say so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

from benchmarks.charts import figure_of, missing_lines, size_name
from benchmarks.section import Plan, Rendered, Row, Tick
from benchmarks.tables import markdown_table
from edge.errors import MissingDependency

if TYPE_CHECKING:
    from benchmarks.flops import Count

Form = Literal["naive", "folded"]
Size = tuple[int, int]
"""Height and width in pixels."""

Key = tuple[str, str, Form]
"""Model, preprocessing, form."""

Table = dict[Key, dict[Size, Row]]

STUDENT, TEACHER = "tiny_ladeda", "ladeda9"
LITE = "lite0_levels"
"""The architecture of the default model."""

FORMS: Mapping[Form, str] = {"naive": "as published", "folded": "folded, as executed"}
"""Which graph of a model is counted → what a report calls it."""

SIZES: tuple[Size, ...] = (
    (224, 224),
    (256, 256),
    (512, 512),
    (384, 683),
    (720, 1280),
    (1080, 1920),
)
QUICK_SIZES: tuple[Size, ...] = ((256, 256), (384, 683), (1080, 1920))

LAYERS_OF: tuple[Key, ...] = (
    (LITE, "raw", "folded"),
    (STUDENT, "x_grad", "naive"),
    (STUDENT, "x_grad", "folded"),
    (TEACHER, "x_grad", "naive"),
)
"""What is printed layer by layer."""

QUICK: tuple[Key, ...] = (
    (STUDENT, "x_grad", "naive"),
    (STUDENT, "x_grad", "folded"),
    (LITE, "raw", "folded"),
)
# What matters most comes first, and what takes long (a teacher's graph) last.
FULL: tuple[Key, ...] = (
    *QUICK,
    (LITE, "raw", "naive"),
    *((STUDENT, preprocessing, form) for preprocessing in ("raw", "NPR") for form in FORMS),
    *((TEACHER, "x_grad", form) for form in FORMS),
    *((architecture, "x_grad", "naive") for architecture in ("ladeda5", "ladeda17", "ladeda33")),
)

_METHOD = (
    "One picture, nothing run: shapes are inferred and formulas applied. A MAC is a multiplication "
    "with its addition, and FLOPs are 2·MACs. *As published* is the network with nothing folded; "
    "*folded, as executed* is the graph of the model file, of which Tiny-LaDeDa's is packed into "
    "blocks of 16 channels, and therefore multiplies by zeros too: it is faster all the same, as a "
    "runtime pads 8 channels to 16 anyway."
)
PAPER_PARAMETERS_RATIO, PAPER_FLOPS_RATIO = 10_000, 375
_PAPER = (
    "Cavia et al., 2024 (arXiv 2406.09398), give one figure each, whatever the size: "
    f"{PAPER_FLOPS_RATIO}× fewer FLOPs and {PAPER_PARAMETERS_RATIO:,}× fewer parameters."
)


class ComputeSection:
    """Parameters, MACs, FLOPs and memory traffic of every model; follows `Section`."""

    name = "compute"
    title = "Compute"

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Count; what cannot be, or has no time left, becomes a row that says so."""
        end = time.monotonic() + plan.budget_s.get(self.name, float("inf"))
        for key in QUICK if plan.quick else FULL:
            named: Row = dict(zip(("model", "preprocessing", "form"), key, strict=True))
            if time.monotonic() > end:
                self._rows.append({**named, "missing": f"{key[0]}: no time was left to count it."})
            else:
                self._rows += [named | row for row in _count(key, plan.quick)]
            tick(f"{key[0]} {key[1]}, {key[2]}")

    def rows(self) -> list[Row]:
        """One for each model, form and size; keys end in their unit."""
        return list(self._rows)


def counts(key: Key, sizes: Sequence[Size]) -> Iterator[Count]:
    """Count one picture of each size, in order.

    Raises:
        UsageError: a name that is not known.
        MissingDependency: torch or onnx is absent.
    """
    try:
        from benchmarks.flops import count_graph, skeleton
        from export.fold import Unfolded, folded_module
        from export.graph import INPUT, to_onnx
        from training.models import build
    except ModuleNotFoundError as error:
        name, install = str(error.name), "pip install 'patchwatch[train]'"
        raise MissingDependency(name, "count what a model computes", install) from error
    architecture, preprocessing, form = key
    model = build(architecture, preprocessing).eval()
    module = Unfolded(model).eval() if form == "naive" else folded_module(model)
    graph = skeleton(to_onnx(module))
    weights = sum(weight.numel() for weight in model.parameters())
    for height, width in sizes:
        count = count_graph(graph, {INPUT: (1, height, width, 3)})
        # The constants of what comes before a published network are not among its weights.
        yield replace(count, parameters=weights) if form == "naive" else count


def _count(key: Key, quick: bool) -> Iterator[Row]:
    sizes = QUICK_SIZES if quick else SIZES
    for (height, width), count in zip(sizes, counts(key, sizes), strict=True):
        yield {
            "height_px": height,
            "width_px": width,
            "parameters": count.parameters,
            "macs": count.macs,
            "flops": count.flops,
            "traffic_bytes": count.traffic_bytes,
            "intensity_flops_per_byte": round(count.intensity, 4),
        }


def render(rows: list[Row]) -> Rendered:
    """Tables of models × sizes, and the ratios beside the paper's."""
    counted = [row for row in rows if "missing" not in row and row["form"] in FORMS]
    missing = "\n".join(missing_lines(rows))
    if not counted:
        return Rendered(missing)
    table: Table = {}
    for row in counted:
        key = (str(row["model"]), str(row["preprocessing"]), cast(Form, row["form"]))
        table.setdefault(key, {})[_size(row)] = row
    sizes = sorted({_size(row) for row in counted}, key=lambda size: size[0] * size[1])
    parts = [_METHOD, _work_table(table, sizes), _traffic_table(table, sizes)]
    return Rendered("\n\n".join(filter(None, [*parts, _ratios(table, sizes), missing])))


def layers_markdown(count: Count) -> str:
    """A table of the operators of a count, those without cost left out."""
    head = ("Layer", "Operator", "Output", "MACs", "FLOPs", "Traffic, bytes")
    lines = [
        [
            operator.layer or "–",
            operator.name,
            "×".join(map(str, operator.outputs[0].shape)) or "scalar",
            *(f"{x:,}" for x in (operator.macs, operator.flops, operator.traffic_bytes)),
        ]
        for operator in count.operators
        if operator.traffic_bytes
    ]
    sums = (f"{x:,}" for x in (count.macs, count.flops, count.traffic_bytes))
    return markdown_table(head, [*lines, ["**all**", "", "", *sums]])


def _size(row: Row) -> Size:
    return int(figure_of(row, "height_px")), int(figure_of(row, "width_px"))


def _names(key: Key) -> tuple[str, str]:
    # As their paper writes them.
    name = key[0].replace("tiny_ladeda", "Tiny-LaDeDa").replace("ladeda", "LaDeDa-")
    return f"{name}, {key[1]}", FORMS[key[2]]


def _parameters(by_size: Mapping[Size, Row]) -> int:
    return int(figure_of(next(iter(by_size.values())), "parameters"))


def _work_table(table: Table, sizes: Iterable[Size]) -> str:
    head = ["Model", "Graph", "Parameters", *(size_name(*size) for size in sizes)]
    lines = [
        [*_names(key), f"{_parameters(row):,}", *(_work(row.get(size)) for size in sizes)]
        for key, row in table.items()
    ]
    return f"**MACs / FLOPs of one picture**\n\n{markdown_table(head, lines)}"


def _work(row: Row | None) -> str:
    if row is None:
        return "–"
    return f"{scaled(figure_of(row, 'macs'))} / {scaled(figure_of(row, 'flops'))}"


def scaled(count: float) -> str:
    """Three digits and a unit: 53.9 M, 1.73 G, 692 G, 1.38 T."""
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        # The bound is where rounding to three digits reaches 1.00 of the unit.
        if count >= 0.9995 * 10**power:
            value = count / 10**power
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{count:.0f}"


def _traffic_table(table: Table, sizes: Sequence[Size]) -> str:
    head = ["Model", "Graph", *(size_name(*size) for size in sizes)]
    lines = [
        [*_names(key), *(_traffic(row.get(size)) for size in sizes)] for key, row in table.items()
    ]
    title = "**Memory traffic of one picture** in MB (10⁶ bytes), in brackets FLOPs per byte"
    return f"{title}\n\n{markdown_table(head, lines)}"


def _traffic(row: Row | None) -> str:
    if row is None:
        return "–"
    megabytes = figure_of(row, "traffic_bytes") / 1e6
    return f"{megabytes:,.1f} ({figure_of(row, 'intensity_flops_per_byte'):.1f})"


def _ratios(table: Table, sizes: Sequence[Size]) -> str:
    lines = []
    for form in FORMS:
        pair = [table.get((model, "x_grad", form)) for model in (TEACHER, STUDENT)]
        if pair[0] and pair[1]:
            ratio = _parameters(pair[0]) / _parameters(pair[1])
            cells = [_ratio(pair[0].get(size), pair[1].get(size)) for size in sizes]
            lines.append([FORMS[form], f"{ratio:,.0f}×", *cells])
    if not lines:
        return ""
    head = ["Graph of both", "Parameters", *(f"FLOPs, {size_name(*size)}" for size in sizes)]
    title = "**Teacher : student** (LaDeDa-9 : Tiny-LaDeDa)"
    return f"{title}\n\n{markdown_table(head, lines)}\n\n{_PAPER}"


def _ratio(teacher: Row | None, student: Row | None) -> str:
    if teacher is None or student is None:
        return "–"
    return f"{figure_of(teacher, 'flops') / figure_of(student, 'flops'):,.0f}×"
