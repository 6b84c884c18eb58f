"""Evaluate models on labelled pictures and videos, degraded as in use.

A folder is data: 0_real/<source>/… and 1_fake/<source>/… with pictures or videos, or a data set in
one of the layouts of --layout, of which --split is taken. Everything else names a model: a shipped
one, a checkpoint (.safetensors), a model file (.onnx), a published file (.pth) or, on the machine
that built it, a TensorRT engine (.engine).

    patchwatch evaluate tiny-ladeda DATA                        tables
    patchwatch evaluate a.safetensors b.onnx DATA --output DIR  report, plots, every logit
    patchwatch evaluate --from DIR/evaluation.json --compact F  figures alone, fit to be committed
    patchwatch evaluate MODEL DATA --sources manifest.json      also by group, year, matched source
    patchwatch evaluate --from F --card docs/model-card.md      rewrite a page's tables

Exit codes: 0 every model scored every picture, 1 some failed or a card is stale, 2 wrong usage,
130 Ctrl-C (nothing is written then).
"""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import get_args

from edge.errors import UsageError
from edge.files import write_whole
from edge.manifest import Preprocessing
from edge.regions import SYNTAX
from edge.signals import stop_signals
from edge.terminal import console
from edge.weights import shipped
from training.degrade import COLUMNS
from training.evaluation.judge import judge
from training.evaluation.options import (
    add_material_arguments,
    find_material,
    number,
    results_console,
)
from training.evaluation.record import Record, facts_of, read_sources
from training.evaluation.report import (
    about,
    grids,
    notes,
    require_folder,
    require_matplotlib,
    stale,
    write_card,
    write_report,
)
from training.evaluation.scorers import ModelOptions, open_scorers, training_installed
from training.evaluation.summary import Summary, read_summary, summarise, write_summary
from training.progress import progress_bar

FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch evaluate`."""
    parser.add_argument(
        "paths", nargs="*", metavar="MODEL|DATA", help="models and folders of labelled files"
    )
    parser.add_argument(
        "--columns", metavar="A,B", help=f"degradations (default: all of {', '.join(COLUMNS)})"
    )
    parser.add_argument(
        "--fps",
        type=_above_0,
        default=2.0,
        metavar="F",
        help="frames per second taken from videos (default: %(default)g)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the intervals (default: 0)"
    )
    parser.add_argument(
        "--sources",
        type=Path,
        metavar="F.json",
        help="list of sources with group, year and matched source, for tables by these",
    )
    add_material_arguments(parser)
    group = parser.add_argument_group("models")
    group.add_argument("--region", metavar="R", help=f"{SYNTAX} (default: each model's own)")
    group.add_argument("--architecture", metavar="A", help="of .pth files, such as tiny_ladeda")
    group.add_argument(
        "--preprocessing", metavar="P", help=f"of .pth files: {', '.join(get_args(Preprocessing))}"
    )
    _add_output_arguments(parser)


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write evaluation.json, report.md, plots, and sheets that show pictures of the data",
    )
    group.add_argument(
        "--compact", type=Path, metavar="F.json", help="write the figures alone, without logits"
    )
    group.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="F.json",
        help="score nothing: take evaluation.json, or for tables and cards its compact form",
    )
    group.add_argument(
        "--card", type=Path, metavar="F.md", help="rewrite the tables between its figures markers"
    )
    group.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where the card is stale"
    )


def run(args: argparse.Namespace) -> int:
    """Score or read, print the tables, write what was asked for."""
    _check_usage(args)
    if args.check:
        problem = stale(args.card, args.source)
        if problem:
            sys.stderr.write(f"patchwatch: {problem}\n")
        return FAILED if problem else 0
    if args.output:
        require_matplotlib()
        require_folder(args.output)
    with stop_signals(), training_installed():
        summary, record = _read(args) if args.source else _evaluated(args)
        tables = results_console()
        tables.print(about(summary), markup=False, soft_wrap=True)
        for grid in grids(summary):
            tables.print(grid.rich())
        for note in notes(summary):
            tables.print(note, markup=False, soft_wrap=True)
        _write(args, summary, record)
    lost = any(c.without_logit for m in summary.models for c in m.columns.values())
    return FAILED if summary.left_out or lost else 0


def _check_usage(args: argparse.Namespace) -> None:
    if bool(args.source) == bool(args.paths):
        raise UsageError(
            "expected either models and folders of data, or --from FILE, found "
            f"{'both' if args.source else 'neither'}."
        )
    if args.check and not (args.card and args.source):
        raise UsageError("--check compares a --card with the file given by --from; give both.")
    if args.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, found {args.seed}.")
    for path, suffix in ((args.compact, ".json"), (args.card, ".md")):
        if path and path.suffix != suffix:
            raise UsageError(f"expected a name that ends in {suffix}, found {str(path)!r}.")


def _read(args: argparse.Namespace) -> tuple[Summary, Record | None]:
    with console().status("computing intervals"):
        summary, record = read_summary(args.source)
        if not args.sources:
            return summary, record
        if record is None:
            raise UsageError(f"--sources: {args.source} has no logits. Give the evaluation.json.")
        known = facts_of(read_sources(args.sources), {item.source for item in record.items})
        record = record.model_copy(update={"sources": known, "schema_number": 2})
        return summarise(record), record


def _evaluated(args: argparse.Namespace) -> tuple[Summary, Record]:
    paths = args.paths  # a shipped name stands before a folder of that name
    args.data = [Path(p) for p in paths if Path(p).is_dir() and p not in shipped()]
    models = [p for p in paths if p in shipped() or not Path(p).is_dir()]
    if not args.data or not models:
        lacking = "a folder of labelled files" if not args.data else "a model"
        raise UsageError(f"expected at least one model and one folder of data; {lacking} lacks.")
    columns = _columns(args.columns)
    sources = read_sources(args.sources) if args.sources else {}
    options = ModelOptions(args.region, args.architecture, args.preprocessing, args.threads)
    with ExitStack() as stack:
        scorers = stack.enter_context(open_scorers(models, options))
        material = find_material(args)
        progress = stack.enter_context(progress_bar())
        task = progress.add_task("scoring", total=len(material.entries), note="")
        record = judge(
            scorers,
            material,
            columns,
            fps=args.fps,
            workers=args.workers,
            seed=args.seed,
            sources=sources,
            on_entry=partial(progress.advance, task),
        )
    with console().status("computing intervals"):
        return summarise(record), record


def _columns(text: str | None) -> tuple[str, ...]:
    """The columns that a person names with commas between, in the usual order; None for all."""
    if text is None:
        return tuple(COLUMNS)
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in COLUMNS]
    if unknown or not wanted:
        raise UsageError(
            f"--columns: {(unknown or [text])[0]!r} is no degradation. Expected some of "
            f"{', '.join(COLUMNS)}, with commas between."
        )
    return tuple(name for name in COLUMNS if name in wanted)


def _above_0(text: str) -> float:
    if not 0 < number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}.")
    return number(text)


def _write(args: argparse.Namespace, summary: Summary, record: Record | None) -> None:
    out = console()
    if args.output:
        if record is None:
            raise UsageError(
                f"{args.source} has no logits, so that nothing can be drawn. Give --from the "
                "evaluation.json that it was made from."
            )
        with out.status("drawing"):
            problems = write_report(record, summary, args.output)
        for problem in problems:
            out.print(problem, markup=False, soft_wrap=True)
        out.print(f"{args.output / 'report.md'}", markup=False, soft_wrap=True)
    if args.compact:
        write_whole(args.compact, write_summary(summary))
        out.print(f"{args.compact}", markup=False, soft_wrap=True)
    if args.card:
        changed = write_card(args.card, summary)
        out.print(f"{args.card}: {'rewritten' if changed else 'unchanged'}", markup=False)
