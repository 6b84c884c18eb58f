"""List the shipped models with their manifests."""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from edge.backends import open_backend
from edge.manifest import Manifest
from edge.weights import DEFAULT, shipped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch models`."""
    parser.add_argument("--json", action="store_true", help="print the manifests as JSON")


def run(args: argparse.Namespace) -> int:
    """Print a table, or JSON: name → file and manifest."""
    manifests = {}
    for name, path in shipped().items():
        with open_backend(path, threads=1) as backend:
            manifests[name] = (path, backend.manifest)
    if args.json:
        data = {
            name: {"file": str(path), "manifest": manifest.model_dump(mode="json")}
            for name, (path, manifest) in manifests.items()
        }
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return 0
    out = Console(highlight=False)
    for name, (path, manifest) in manifests.items():
        out.print(_table(name, path.stat().st_size, manifest))
    return 0


def _table(name: str, size: int, manifest: Manifest) -> Table:
    title = f"{name} (default)" if name == DEFAULT else name
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _rows(size, manifest):
        table.add_row(key, value)
    return table


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
    return rows + [
        (f"{f.metric}, {f.degradation}", f"{f.value:.3f} ({f.data})") for f in manifest.validation
    ]
