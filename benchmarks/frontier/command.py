"""`patchwatch bench frontier`: quality against work, from files of figures."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks.frontier.record import Frontier, frontier_text, is_frontier, read_frontier
from benchmarks.frontier.table import snippet, stale_table, written
from edge.errors import MissingDependency, UsageError
from edge.terminal import console
from training.evaluation.options import bar
from training.evaluation.whole_files import write_all

FAILED = 1
TRAIN, BENCH = "pip install 'patchwatch[train]'", "pip install 'patchwatch[bench]'"


def run(args: argparse.Namespace) -> int:
    """Count or read, print the table, write what was asked for.

    Returns:
        1 where a model could not be counted or, with --check, the card is stale; otherwise 0.
    """
    _check_usage(args)
    frontier = _frontier(args)
    if args.check:
        return _check(args.card, frontier, args.file)
    files = _files(args, frontier)
    sys.stdout.write(f"{snippet(frontier)}\n")
    for path, content in files.items():
        write_all(path.parent, {path.name: content})
        console().print(f"{path}", markup=False, soft_wrap=True)
    return 0 if all(point.work for point in frontier.models) else FAILED


def _check_usage(args: argparse.Namespace) -> None:
    for path, suffix in ((args.svg, ".svg"), (args.json, ".json"), (args.card, ".md")):
        if path and path.suffix != suffix:
            raise UsageError(f"expected a name that ends in {suffix}, found {str(path)!r}.")
    if args.check and not args.card:
        raise UsageError("--check compares a --card with the file; give both.")


def _frontier(args: argparse.Namespace) -> Frontier:
    if is_frontier(args.file):
        if args.models:
            raise UsageError(
                f"--models are counted for a file of 'patchwatch evaluate'; {args.file} has the "
                "counts already. Leave them out, or give the evaluation."
            )
        return read_frontier(args.file)
    try:
        from benchmarks.frontier.count import make_frontier
    except ModuleNotFoundError as error:
        raise MissingDependency(str(error.name), "count models", TRAIN) from error
    with bar() as progress:
        watch = partial(progress.track, description="counting")
        return make_frontier(args.file, args.models, watch)


def _check(card: Path, frontier: Frontier, source: Path) -> int:
    problem = stale_table(card, frontier, source)
    if problem is None:
        return 0
    console().print(f"patchwatch: {problem}", markup=False, soft_wrap=True)
    return FAILED


def _files(args: argparse.Namespace, frontier: Frontier) -> dict[Path, bytes]:
    """All made before the first is written, so that a wrong card costs nothing."""
    files: dict[Path, bytes] = {}
    if args.card:
        files[args.card] = written(args.card, frontier).encode()
    if args.json:
        files[args.json] = frontier_text(frontier).encode()
    if args.svg:
        files[args.svg] = _svg(frontier)
    return files


def _svg(frontier: Frontier) -> bytes:
    try:
        from benchmarks.frontier.plot import plot_svg

        return plot_svg(frontier)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise MissingDependency("matplotlib", "draw a plot", BENCH) from error
