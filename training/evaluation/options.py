"""What evaluating and calibrating share on the command line."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edge.terminal import console
from training.data.layouts import AUTO, LAYOUTS, TEST, VAL
from training.evaluation.material import Material, open_material
from training.progress import print_rejected, progress_bar

PIPE_WIDTH = 200


def add_material_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --split and --layout."""
    parser.add_argument(
        "--split",
        metavar="NAME",
        help=f"part of each data set; {TEST} takes all of {TEST}/… (default: {VAL}, or the only)",
    )
    parser.add_argument(
        "--layout",
        choices=(AUTO, *LAYOUTS),
        default=AUTO,
        help="how the data sets lie in folders (default: %(default)s)",
    )


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    """Add --workers."""
    parser.add_argument(
        "--workers",
        type=not_negative,
        default=0,
        metavar="N",
        help="processes that degrade pictures ahead of the models (default: none)",
    )


def not_negative(text: str) -> int:
    """An argparse type: a whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, found {text!r}.")
    return int(text)


def finite_above_0(text: str) -> float:
    """An argparse type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}.")
    return value


def find_material(
    folders: Sequence[Path], split: str | None, layout: str, photographs_only: bool = False
) -> Material:
    """`open_material`, and a line on what was found and what is left out."""
    out = console()
    with progress_bar() as progress:
        task = progress.add_task("reading the data", total=None, note="")

        def on_file(total: int) -> None:
            progress.update(task, advance=1, total=total)

        material = open_material(folders, split, layout, on_file, photographs_only)
    out.print(material.describe(), markup=False, soft_wrap=True)
    print_rejected(out, material.rejected)
    return material


def results_console() -> Console:
    """For tables, on stdout; wide where no terminal bounds it, or a pipe would cut the figures."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
