"""Evaluate models on labelled pictures and videos, degraded as in use.

A folder is data: 0_real/<source>/… and 1_fake/<source>/… with pictures or videos, or a data set in
one of the layouts of --layout, of which --split is taken. Everything else names a model: a shipped
model or checkpoint, a checkpoint's file (.safetensors), a model file (.onnx), a published file
(.pth) or, on the machine that built it, a TensorRT engine (.engine).

    patchwatch evaluate tiny-ladeda DATA                        tables
    patchwatch evaluate a.safetensors b.onnx DATA --output DIR  report, plots, every logit
    patchwatch evaluate --from DIR/evaluation.json --compact F  figures alone, fit to be committed
    patchwatch evaluate MODEL DATA --sources manifest.json      also by group, year, matched source
    patchwatch evaluate ladeda WildRF --protocol published      as its authors test, per platform
    patchwatch evaluate --from F --card docs/model-card.md      rewrite a page's tables

Exit codes: 0 every model scored every picture, 1 some failed or a card is stale, 2 wrong usage,
130 Ctrl-C (nothing is written then).
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
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
from training.evaluation.material import add_material_arguments, find_material, results_console
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
from training.flags import add_flags
from training.progress import print_rejected
from training.shipped import shipped_checkpoints

FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch evaluate`."""
    add = parser.add_argument
    add("paths", nargs="*", metavar="MODEL|DATA", help="models and folders of labelled files")
    add("--columns", metavar="A,B", help=f"degradations (default: all of {', '.join(COLUMNS)})")
    add_flags(parser, "--fps", default=2.0, help="of videos (default: %(default)g)")
    add_flags(parser, "--seed", default=0, help="of the intervals (default: 0)")
    add_flags(parser, "--sources")
    add(
        "--protocol",
        choices=("published",),
        help="LaDeDa's own: each platform of WildRF, ForenSynth or UFD against its own "
        "photographs, at 256×256 pixels, with accuracies and AP",
    )
    add_material_arguments(parser)
    add = parser.add_argument_group("models").add_argument
    add("--region", metavar="R", help=f"{SYNTAX} (default: each model's own)")
    add("--architecture", metavar="A", help="of .pth files, such as tiny_ladeda")
    known = ", ".join(get_args(Preprocessing))
    add("--preprocessing", metavar="P", help=f"of .pth files: {known}")
    add = parser.add_argument_group("results").add_argument
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="write evaluation.json, report.md, ROC curves, and sheets of the surest mistakes",
    )
    add("--compact", type=Path, metavar="F.json", help="write the figures alone, without logits")
    add(
        "--from",
        dest="source",
        type=Path,
        metavar="F.json",
        help="score nothing: take evaluation.json, or for tables and cards its compact form",
    )
    add("--card", type=Path, metavar="F.md", help="rewrite the tables between its figures markers")
    add("--check", action="store_true", help="write nothing; exit code 1 where the card is stale")


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
        if args.protocol:
            from training.evaluation.protocol import run as by_protocol

            return by_protocol(args, *_named(args))
        summary, record = _read(args) if args.source else _evaluated(args)
        tables = results_console()
        tables.print(about(summary), markup=False, soft_wrap=True)
        for grid in grids(summary):
            tables.print(grid.rich())
        for note in notes(summary):
            tables.print(note, markup=False, soft_wrap=True)
        if record and args.source:
            print_rejected(console(), record.rejected)
        if record:
            print_rejected(console(), tuple(record.without_logit()))
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
    if args.protocol and (args.source or args.output or args.compact or args.card):
        raise UsageError("--protocol prints a table: leave --from, --output, --compact and --card.")
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
        known = facts_of(read_sources(args.sources), {s.name for s in summary.sources})
        record = _require_logits(args, record)
        record = record.model_copy(update={"sources": known, "schema_number": 2})
        return summarise(record), record


def _named(args: argparse.Namespace) -> tuple[list[str], list[Path]]:
    """The models and the folders of data; a shipped name stands before a folder of that name."""
    names = shipped().keys() | shipped_checkpoints().keys()
    data = [Path(p) for p in args.paths if Path(p).is_dir() and p not in names]
    models = [p for p in args.paths if p in names or not Path(p).is_dir()]
    if not data or not models:
        lacking = "a folder of labelled files" if not data else "a model"
        raise UsageError(
            f"expected at least one model and one folder of data; {lacking} is missing."
        )
    return models, data


def _evaluated(args: argparse.Namespace) -> tuple[Summary, Record]:
    models, args.data = _named(args)
    columns = _columns(args.columns)
    sources = read_sources(args.sources) if args.sources else {}
    options = ModelOptions(args.region, args.architecture, args.preprocessing, args.threads)
    with ExitStack() as stack:
        scorers = stack.enter_context(open_scorers(models, options))
        material = find_material(args)
        from training.evaluation.judge import judge

        record = judge(
            scorers,
            material,
            columns,
            fps=args.fps,
            workers=args.workers,
            seed=args.seed,
            sources=sources,
        )
    with console().status("computing intervals"):
        return summarise(record), record


def _columns(text: str | None) -> tuple[str, ...]:
    """The columns that a person names with commas between, in the usual order; None for all."""
    wanted = list(COLUMNS) if text is None else [name.strip() for name in text.split(",")]
    for name in wanted:
        if name not in COLUMNS:
            raise UsageError(
                f"--columns: {name!r} is no degradation. Expected some of {', '.join(COLUMNS)}, "
                "with commas between."
            )
    return tuple(name for name in COLUMNS if name in wanted)


def _require_logits(args: argparse.Namespace, record: Record | None) -> Record:
    if record is None:
        raise UsageError(
            f"{args.source} has no logits. Give --from the evaluation.json that it was made from."
        )
    return record


def _write(args: argparse.Namespace, summary: Summary, record: Record | None) -> None:
    out = console()
    if args.output:
        with out.status("drawing"):
            problems = write_report(_require_logits(args, record), summary, args.output)
        for line in (*problems, str(args.output / "report.md")):
            out.print(line, markup=False, soft_wrap=True)
    if args.compact:
        write_whole(args.compact, write_summary(summary))
        out.print(f"{args.compact}", markup=False, soft_wrap=True)
    if args.card:
        changed = write_card(args.card, summary)
        out.print(f"{args.card}: {'rewritten' if changed else 'unchanged'}", markup=False)
