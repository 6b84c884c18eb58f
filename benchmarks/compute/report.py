"""The compute part of a report, from its rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from benchmarks.charts import figure_of, size_name
from benchmarks.compute.formulas import Count
from benchmarks.compute.names import FORMS, STUDENT, TEACHER, Form, Key, SizeHW, Table, model_name
from benchmarks.compute.plot import PLOTTED_HW, parameters_and_flops
from benchmarks.section import Rendered, Row
from benchmarks.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMS", "STUDENT", "TEACHER", "layers_markdown", "render"]

PAPER_FLOPS_RATIO = 375
PAPER_PARAMETERS_RATIO = 10_000
"""Teacher : student in the abstract of Cavia et al., 2024, arXiv 2406.09398."""

_METHOD = """\
FLOPs are 2·MACs; a MAC is one multiplication of a convolution or a matrix product with its \
addition. Everything else (casts, transposes, batch norms, activations) has no MACs but moves data.

Memory traffic is a model, not a measurement: every operator reads its inputs and weights once and \
writes its outputs once, in the precision that it has in the graph; a runtime that fuses operators \
moves less. One picture; nothing is run to count it.

"As published" is the unfolded graph. "Folded, algorithm" is what the folding leaves to be \
computed: one 3×3 convolution instead of a 1×1 and a 3×3, no batch norms, no normalisation. \
"Folded, executed" is the ONNX graph of the model file. Parameters of the executed graph are all \
floating-point numbers that its operators read, constants and repeated weights among them."""

_PACKING = """\
Tiny-LaDeDa's file executes more MACs than its algorithm needs. Its 8 channels are packed: two \
neighbouring columns lie side by side as 16 channels (NPR: the four pixels of a 2×2 block as 32), \
and the last 3×3 convolution is widened from 8 to 16 outputs. The weights are the same, repeated, \
and where a phase has no use for a channel the weight is a zero that is multiplied all the same. \
Runtimes work on blocks of 16 channels: with 8 they would execute the same block half empty, which \
no count of MACs shows. What the file gains over the published graph is fewer layers and less \
traffic, hardly fewer MACs (and with NPR it executes more)."""

_PAPER = (
    f"The paper (arXiv 2406.09398) states {PAPER_FLOPS_RATIO}× fewer FLOPs and "
    f"{PAPER_PARAMETERS_RATIO:,}× fewer parameters, as one figure each, whatever the size."
)


def render(rows: list[Row]) -> Rendered:
    """Tables of models × sizes, the ratios beside the paper's, and a plot.

    Args:
        rows: as `ComputeSection.rows` gives them; any subset will do.
    """
    counted = [row for row in rows if "missing" not in row]
    parts = [_missing_lines(rows)]
    figures: dict[str, Figure] = {}
    if counted:
        table, sizes = _by_model(counted), _sizes(counted)
        parts = [_METHOD, _work_table(table, sizes), *_packing_note(table)]
        parts += [_traffic_table(table, sizes), _ratio_part(table, sizes), _missing_lines(rows)]
        if PLOTTED_HW in sizes:
            figures["compute_parameters_flops"] = parameters_and_flops(table)
    return Rendered("\n\n".join(part for part in parts if part), figures)


def layers_markdown(count: Count) -> str:
    """A table of the operators of a count, those without cost left out."""
    head = ("Layer", "Operator", "Output", "MACs", "FLOPs", "Traffic, bytes")
    lines = [
        [
            operator.layer or "–",
            operator.name,
            "×".join(map(str, operator.outputs[0].shape)) or "scalar",
            *_thousands(operator.macs, operator.flops, operator.traffic_bytes),
        ]
        for operator in count.operators
        if operator.traffic_bytes
    ]
    total = ["**all**", "", "", *_thousands(count.macs, count.flops, count.traffic_bytes)]
    return markdown_table(head, [*lines, total])


def _thousands(*counts: int) -> list[str]:
    return [f"{count:,}" for count in counts]


def _by_model(rows: Iterable[Row]) -> Table:
    """Models in the order of the rows, the forms of each side by side."""
    found: Table = {}
    for row in rows:
        found.setdefault(_key(row), {})[_size(row)] = row
    models = dict.fromkeys(key[:2] for key in found)
    keys: list[Key] = [(*model, form) for model in models for form in FORMS]
    return {key: found[key] for key in keys if key in found}


def _key(row: Row) -> Key:
    return str(row["model"]), str(row["preprocessing"]), cast(Form, row["form"])


def _size(row: Row) -> SizeHW:
    return int(figure_of(row, "height_px")), int(figure_of(row, "width_px"))


def _sizes(rows: Iterable[Row]) -> list[SizeHW]:
    return sorted({_size(row) for row in rows}, key=lambda size: size[0] * size[1])


def _work_table(table: Table, sizes: Sequence[SizeHW]) -> str:
    head = ["Model", "Graph", "Parameters", *(size_name(*size) for size in sizes)]
    lines = [
        [*_names(key), f"{_parameters(row):,}", *(_work(row.get(size)) for size in sizes)]
        for key, row in table.items()
    ]
    return f"**MACs / FLOPs of one picture**\n\n{markdown_table(head, lines)}"


def _parameters(row: Mapping[SizeHW, Row]) -> int:
    return int(figure_of(next(iter(row.values())), "parameters"))


def _work(row: Row | None) -> str:
    if row is None:
        return "–"
    return f"{_scaled(figure_of(row, 'macs'))} / {_scaled(figure_of(row, 'flops'))}"


def _scaled(count: float) -> str:
    """Three digits and a unit: 53.9 M, 1.73 G, 692 G, 1.38 T."""
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        # The bound is where rounding to three digits reaches 1.00 of the unit.
        if count >= 0.9995 * 10**power:
            value = count / 10**power
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{count:.0f}"


def _packing_note(table: Table) -> list[str]:
    return [_PACKING] if any(key[0] == STUDENT and key[2] == "folded" for key in table) else []


def _traffic_table(table: Table, sizes: Sequence[SizeHW]) -> str:
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


def _ratio_part(table: Table, sizes: Sequence[SizeHW]) -> str:
    lines = [
        [FORMS[form], preprocessing, *cells]
        for preprocessing in dict.fromkeys(key[1] for key in table if key[0] == STUDENT)
        for form in FORMS
        if (cells := _ratio_cells(table, preprocessing, form, sizes))
    ]
    if not lines:
        return ""
    head = ["Graph of both", "Preprocessing", "Parameters"]
    head += [f"FLOPs, {size_name(*size)}" for size in sizes]
    paper = ["the paper", "", f"{PAPER_PARAMETERS_RATIO:,}×"]
    paper += [f"{PAPER_FLOPS_RATIO}×"] * len(sizes)
    title = "**Teacher : student** (LaDeDa-9 : Tiny-LaDeDa, the same preprocessing)"
    return f"{title}\n\n{markdown_table(head, [*lines, paper])}\n\n{_PAPER}"


def _ratio_cells(
    table: Table, preprocessing: str, form: Form, sizes: Sequence[SizeHW]
) -> list[str]:
    student = table.get((STUDENT, preprocessing, form))
    teacher = table.get((TEACHER, preprocessing, form))
    if student is None or teacher is None:
        return []
    flops = [_ratio(teacher.get(size), student.get(size)) for size in sizes]
    return [f"{_parameters(teacher) / _parameters(student):,.0f}×", *flops]


def _ratio(teacher: Row | None, student: Row | None) -> str:
    if teacher is None or student is None:
        return "–"
    return f"{figure_of(teacher, 'flops') / figure_of(student, 'flops'):,.0f}×"


def _missing_lines(rows: Iterable[Row]) -> str:
    names: dict[str, list[str]] = {}
    for row in rows:
        if "missing" in row:
            names.setdefault(str(row["missing"]), []).append(", ".join(_names(_key(row))))
    return "\n".join(f"- {'; '.join(which)}: {why}" for why, which in names.items())


def _names(key: Key) -> tuple[str, str]:
    return f"{model_name(key[0])}, {key[1]}", FORMS[key[2]]
