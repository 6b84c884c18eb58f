"""List the shipped models: what they look at, their threshold, their figures.

By name they are shown whole, with every source that they were trained and measured on.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from edge.manifest import Manifest, read_manifest
from edge.weights import DEFAULT, FACES, find_model, shipped

_LIST = re.compile(r"\(([^()]*(?:, [^()]*){2,})\)")
"""The sources of training and measuring, hundreds of names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch models`."""
    parser.add_argument(
        "names", nargs="*", metavar="MODEL", help="show these whole (default: all, in short)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the manifests as JSON")
    form.add_argument("--markdown", action="store_true", help="print one table in Markdown")


def run(args: argparse.Namespace) -> int:
    """Print a table for each model; or JSON, name → file and manifest; or Markdown."""
    found = {name: find_model(name) for name in args.names} or dict(
        sorted(shipped().items(), key=lambda each: (each[0] != DEFAULT, each[0] == FACES))
    )
    manifests = {name: (path, read_manifest(path)) for name, path in found.items()}
    if args.markdown:
        sys.stdout.write(markdown([manifest for _, manifest in manifests.values()]) + "\n")
        return 0
    if args.json:
        data = {
            name: {"file": str(path), "manifest": manifest.model_dump(mode="json")}
            for name, (path, manifest) in manifests.items()
        }
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return 0
    out = Console(highlight=False)
    for name, (path, manifest) in manifests.items():
        out.print(_table(name, path.stat().st_size, manifest, short=not args.names))
    return 0


def markdown(manifests: Sequence[Manifest]) -> str:
    """A Markdown table: a row for each metric of each model, a column for each degradation.

    What holds for all rows of a model is in its first; an en dash is what was not measured.
    """
    columns = list(dict.fromkeys(f.degradation for m in manifests for f in m.validation))
    head = ["model", "parameters", "region", "on validation pictures", *columns]
    rule = ["---", "---:", "---", "---", *["---:"] * len(columns)]
    rows = [row for manifest in manifests for row in _markdown_rows(manifest, columns)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def _markdown_rows(manifest: Manifest, columns: Sequence[str]) -> Iterator[list[str]]:
    values = {(f.metric, f.degradation): f"{f.value:.2f}" for f in manifest.validation}
    name = f"`{manifest.name}`" + (" (default)" if manifest.name == DEFAULT else "")
    parameters = f"{manifest.parameters:,}" if manifest.parameters else "not stated"
    about = [name, parameters, f"`{manifest.region}`"]
    for metric in dict.fromkeys(f.metric for f in manifest.validation):
        yield [*about, metric, *(values.get((metric, column), "–") for column in columns)]
        about = [""] * len(about)


def _table(name: str, size: int, manifest: Manifest, short: bool) -> Table:
    title = f"{name} (default)" if name == DEFAULT else name
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _rows(size, manifest):
        table.add_row(key, _LIST.sub(_counted, value) if short else value)
    return table


def _counted(listed: re.Match[str]) -> str:
    return f"({len(listed[1].split(', '))} sources)"


def _rows(size: int, manifest: Manifest) -> list[tuple[str, str]]:
    grid, calibration = manifest.patches, manifest.calibration
    patches = (
        "none"
        if grid is None
        else f"{grid.receptive_field}×{grid.receptive_field} px every {grid.stride} px"
    )
    rows = [
        ("architecture", manifest.architecture),
        ("preprocessing", manifest.preprocessing),
        ("parameters", f"{manifest.parameters:,}" if manifest.parameters else "not stated"),
        ("file", f"{size:,} bytes"),
        ("patches", patches),
        ("region", manifest.region),
        (
            "calibration",
            f"temperature {calibration.temperature:.4g}, bias {calibration.bias:.4g}, "
            f"threshold {calibration.threshold:.3g}",
        ),
        ("trained on", manifest.training.data),
        ("licence", manifest.licence),
    ]
    return rows + _figure_rows(manifest)


def _figure_rows(manifest: Manifest) -> list[tuple[str, str]]:
    by_metric: dict[tuple[str, str], list[str]] = {}
    for f in manifest.validation:
        by_metric.setdefault((f.data, f.metric), []).append(f"{f.degradation} {f.value:.3f}")
    rows = [("measured on", data) for data in dict.fromkeys(data for data, _ in by_metric)]
    return rows + [(metric, ", ".join(values)) for (_, metric), values in by_metric.items()]
