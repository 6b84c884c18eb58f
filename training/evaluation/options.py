"""What evaluating and calibrating share on the command line."""

from __future__ import annotations

import argparse
import math
import sys

from rich.console import Console

from edge.terminal import console, positive
from training.data.layouts import AUTO, LAYOUTS, TEST, VAL
from training.evaluation.material import Material, open_material
from training.progress import print_rejected, progress_bar

PIPE_WIDTH = 200


def add_material_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --split, --layout, --workers and --threads."""
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
    parser.add_argument(
        "--workers",
        type=_not_negative,
        default=0,
        metavar="N",
        help="processes that degrade pictures ahead of the models (default: none)",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads per operator (default: all cores)"
    )


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, found {text!r}.")
    return int(text)


def number(text: str) -> float:
    """A number; NaN, which is within no bounds, where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def find_material(args: argparse.Namespace, photographs_only: bool = False) -> Material:
    """`open_material` of `args.data`, and a line on what was found and what is left out."""
    out = console()
    with progress_bar() as progress:
        task = progress.add_task("reading the data", total=None, note="")

        def on_file(total: int) -> None:
            progress.update(task, advance=1, total=total)

        material = open_material(args.data, args.split, args.layout, on_file, photographs_only)
    out.print(material.describe(), markup=False, soft_wrap=True)
    print_rejected(out, material.rejected)
    return material


def results_console() -> Console:
    """For tables, on stdout; wide where no terminal bounds it, or a pipe would cut the figures."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
