"""Measure this program on this machine: compute, latency, roofline, end to end, scaling, power.

Without a subcommand it measures, shows progress with the time left, and prints the path of the
result file; Ctrl-C keeps what was measured until then. Close other programs first.

    patchwatch bench --quick                      a first look, about a minute
    patchwatch bench report FILE -o DIR           a result file as a page with plots
    patchwatch bench compare A B --bound 1.1      exit code 1 where B is slower by more than that
    patchwatch bench readme --check  whether docs/performance.md has the newest
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.compare import BOUND, compare
from benchmarks.measure import INTERRUPTED, measure
from benchmarks.readme import README, check_readme, newest, write_readme
from benchmarks.report import write_report
from benchmarks.results_file import OUTPUT, bench_result, conditions_now, read_bench, write_bench
from benchmarks.section import SECTIONS, make_plan
from edge.errors import SinkError
from edge.terminal import console, show_notes

FAILED = 1
LAYERS_HW = (256, 256)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags and the subcommands of `patchwatch bench`."""
    add = parser.add_argument
    parser.set_defaults(do=_bench)
    add("--quick", action="store_true", help="less of everything, for a first look")
    every = ", ".join(SECTIONS)
    add("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
        help=f"of {every} (default: all)")  # fmt: skip
    add("--threads", type=_threads, default=_threads(f"1,{os.cpu_count() or 1}"), metavar="N,N",
        help="numbers of threads to measure with (default: 1 and all cores)")  # fmt: skip
    add("--output", type=Path, default=OUTPUT, metavar="DIR", help=f"default: {OUTPUT}")
    add("--layers", action="store_true",
        help="print what each layer of the shipped models and a teacher costs; times nothing",
    )  # fmt: skip
    commands = parser.add_subparsers(title="on result files", metavar="")
    compared = commands.add_parser("compare", help="two files", allow_abbrev=False)
    compared.set_defaults(do=_compare)
    compared.add_argument("a", type=Path, metavar="A", help="the earlier result file")
    compared.add_argument("b", type=Path, metavar="B", help="the later one")
    compared.add_argument(
        "--bound",
        type=float,
        default=BOUND,
        metavar="RATIO",
        help=f"ratio of times past which slower is a regression (default: {BOUND:g})",
    )
    report = commands.add_parser("report", help="a page with plots", allow_abbrev=False)
    report.set_defaults(do=_report)
    report.add_argument("file", type=Path, metavar="FILE", help="a result file")
    # A name of its own, or the flag of the same name before the subcommand would be overwritten.
    report.add_argument("-o", "--output", dest="folder", type=Path, required=True, metavar="DIR")
    readme = commands.add_parser("readme", help="the README's table", allow_abbrev=False)
    readme.set_defaults(do=_readme)
    readme.add_argument(
        "--check", action="store_true", help="change nothing; exit code 1 where it is stale"
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked for; see the module's text for the exit codes."""
    return int(args.do(args))


def _bench(args: argparse.Namespace) -> int:
    return _print_layers() if args.layers else _measure(args)


def _measure(args: argparse.Namespace) -> int:
    _check_writable(args.output)
    show_notes(quiet=True)  # a note would tear the bar, and a row says what is missing
    conditions = conditions_now()
    plan = make_plan(args.quick, args.threads)
    chosen = {name: entry for name, entry in SECTIONS.items() if name in args.only}
    outcome = measure(chosen, plan)
    result = bench_result(plan, conditions, outcome.sections, outcome.interrupted)
    path = write_bench(result, args.output)
    if result.warning:
        console().print(f"patchwatch: {result.warning}", markup=False, soft_wrap=True)
    sys.stdout.write(f"{path}\n")
    if outcome.interrupted:
        console().print("patchwatch: interrupted; the file has what was measured until then.")
        return INTERRUPTED
    return FAILED if outcome.failed else 0


def _print_layers() -> int:
    from benchmarks.compute import FORMS, LAYERS_OF, counts, layers_markdown

    for key in LAYERS_OF:
        (count,) = counts(key, [LAYERS_HW])
        title = f"{key[0]}, {key[1]}, {FORMS[key[2]]}, {LAYERS_HW[0]}×{LAYERS_HW[1]} pixels"
        sys.stdout.write(f"{title}\n\n{layers_markdown(count)}\n\n")
    return 0


def _compare(args: argparse.Namespace) -> int:
    found = compare(read_bench(args.a), read_bench(args.b), args.bound)
    sys.stdout.write(found.markdown())
    return FAILED if found.regressions else 0


def _report(args: argparse.Namespace) -> int:
    show_notes()
    page, undrawn = write_report(read_bench(args.file), args.folder)
    sys.stdout.write(f"{page}\n")
    return FAILED if undrawn else 0


def _readme(args: argparse.Namespace) -> int:
    path, result = newest()
    if args.check:
        problem = check_readme(README, result)
        if problem:
            console().print(f"patchwatch: {problem}", markup=False, soft_wrap=True)
        return FAILED if problem else 0
    write_readme(README, result)
    console().print(f"patchwatch: {README.name} has the figures of {path.name}.", markup=False)
    return 0


def _threads(text: str) -> tuple[int, ...]:
    try:
        counts = {int(part) for part in text.split(",")}
    except ValueError:
        counts = {0}
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(
            f"expected numbers of threads from 1 on, for instance 1,4; found {text!r}."
        )
    return tuple(sorted(counts))


def _check_writable(folder: Path) -> None:
    """Before the measurement, not after ten minutes of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"--output {folder}: {error.strerror}. Name another folder.") from error
    if not os.access(folder, os.W_OK):
        raise SinkError(f"--output {folder} cannot be written to. Name another folder.")
