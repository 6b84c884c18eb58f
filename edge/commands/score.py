"""Score pictures and videos: a line for each file or address, folders are searched to the bottom.

A video is judged by the windows that `run` shows: its verdict is that of its worst stretch of a
second (`fake` where `run` raises an event), and its line has the share of time and the stretches
that are fake. `logit` is the mean over its frames. Files that cannot be read are reported, counted
and skipped.

With --output a row for each file goes into Parquet tables (scores by verdict, errors), with the
file's sha256, scored by many processes or a Ray cluster. What was scored is not scored again, so
that the same command goes on where it was stopped; what failed is tried again. Ray's machines need
Patchwatch and access to the files.

Exit codes: 0 every file was scored, 1 some failed, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.progress import Progress, TaskID

from edge.config import RunConfig, add_flags, flags_in, override
from edge.decision.recording import Stretch
from edge.errors import PatchwatchError, SourceError, UsageError, printable
from edge.opening import open_detector
from edge.provenance import RELATION
from edge.record import claim_records
from edge.scoring import FileScore, find_files, score_file
from edge.signals import stop_signals
from edge.sources.images import VIDEO_SUFFIXES, readable_suffixes
from edge.sources.stills import left_out_note
from edge.terminal import console, positive, progress_bar, show_notes
from edge.weights import find_model, shipped
from edge.words import counted

_EVERY_FRAME = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch score`."""
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="files, folders, globs and http(s) addresses"
    )
    parser.add_argument("--list", metavar="FILE", help="further ones, one per line; - is stdin")
    add_flags(parser, "model", "region", "backend", "faces", "verdict", "provenance")
    add_flags(parser, "capture.every", "capture.seconds")
    parser.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="json: one per line"
    )
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")
    many = parser.add_argument_group("an archive", "With --output; s3://… and gs://… go too.")
    many.add_argument(
        "--output", metavar="DIR", help="write Parquet tables there, or go on in them"
    )
    many.add_argument("--workers", type=positive, metavar="N", help="processes (default: by CPUs)")
    many.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="workers on a Ray cluster (default: the one of this machine, started if need be)",
    )
    many.add_argument("--split", type=positive, metavar="S", help="split videos by S seconds (300)")


def run(args: argparse.Namespace) -> int:
    """Score every file; see the module's text for the exit codes."""
    # Faces are looked for in every frame that is scored.
    config = override(RunConfig(), {"faces.rate": _EVERY_FRAME, **flags_in(args)})
    hidden: list[str] = []
    paths = [*args.paths, *_listed(args.list)]
    if args.output is not None:
        if args.format != "table":
            raise UsageError("--output writes tables alone. Leave --format out.")
        return _score_archive(args, paths, config)
    if any(given is not None for given in (args.ray, args.workers, args.split)):
        raise UsageError(
            "--ray, --workers and --split score an archive. Give --output DIR for its tables."
        )
    files = list(find_files(paths, hidden.append))
    _say_hidden(hidden)
    if not files:
        raise _nothing_found(paths)
    counts: Counter[str] = Counter()
    declared = config.provenance.reader() or (lambda name: None)
    with (
        open_detector(config, getattr(args, "build_engine", None)) as detector,
        progress_bar(hidden=args.no_progress) as progress,
        _silent_judge(),
    ):
        emit = _emitter(args.format, progress)
        frames = progress.add_task("frames", total=None, visible=False)
        for path in progress.track(files, description="scoring"):
            line = score_file(detector, path, config, partial(_show_frame, progress, frames))
            line = replace(line, provenance=declared(str(path)))
            progress.reset(frames, visible=False)
            emit(line)
            counts["declared"] += bool(line.provenance and line.provenance.headline)
            counts["failed" if line.error else line.verdict or "failed"] += 1
    _summarise(len(files), counts)
    return 1 if counts["failed"] else 0


def _listed(name: str | None) -> list[str]:
    if name is None:
        return []
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(
            f"--list {name}: cannot be read ({error.strerror}). Expected a file with a path or an "
            "address in each line."
        ) from error
    return [line for line in text.splitlines() if line.strip()]


def _say_hidden(hidden: Sequence[str]) -> None:
    if hidden:
        console().print(printable(left_out_note(hidden)), markup=False, soft_wrap=True)


@contextmanager
def _silent_judge() -> Iterator[None]:
    """Why a frame could not be scored stands in its file's line, and is no warning besides."""
    log = logging.getLogger("edge.decision.judge")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _nothing_found(paths: Sequence[str]) -> PatchwatchError:
    if not paths:
        return UsageError("nothing to score. Give files, folders or addresses, or --list.")
    suffixes = " ".join(sorted({*readable_suffixes(), *VIDEO_SUFFIXES}))
    return SourceError(
        f"no pictures or videos found. Expected files ending in {suffixes}; give others by name."
    )


def _score_archive(args: argparse.Namespace, paths: Sequence[str], config: RunConfig) -> int:
    from edge.archive import PART_S, score_archive
    from edge.archive.engines import Processes, Ray
    from edge.archive.output import Output

    show_notes()
    output = Output(args.output)
    threads = config.backend.threads or 1
    # Processes elsewhere find a file by its whole path, and a shipped model by its name.
    model = config.model if config.model in shipped() else str(find_model(config.model).resolve())
    config = override(config, {"backend.threads": threads, "model": model})
    # What is wrong with the model shows here once; what is chosen or built for it is kept.
    with open_detector(config, getattr(args, "build_engine", None)) as detector:
        gpu = detector.backend.name == "tensorrt" or config.backend.device != "cpu"
    engine: Processes | Ray = Processes(args.workers, threads)
    hidden: list[str] = []
    began = time.monotonic()
    with ExitStack() as stack:
        if args.ray is not None:
            engine = Ray(args.ray or None, args.workers, threads, gpus=float(gpu))
            stack.callback(engine.close)
        stack.enter_context(stop_signals())
        counts = score_archive(
            paths, config, output, engine, args.split or PART_S, hidden.append, args.no_progress
        )
    _say_hidden(hidden)
    again = counts.pop("again")
    if not counts.total():
        raise _nothing_found(paths)
    scored, seconds = counts.total() - counts["skipped"], time.monotonic() - began
    _summarise(counts.total(), counts)
    rate = f"{scored} in {seconds:.1f} s ({scored / seconds:.1f} files/s)"
    rate += f", {again} of which failed before" if again else ""
    console().print(printable(f"{rate}; tables: {output.shown}"), markup=False, soft_wrap=True)
    return 1 if counts["failed"] else 0


def _show_frame(progress: Progress, task: TaskID, length: int | None) -> None:
    """Show how far a long video is, below the files."""
    progress.update(task, advance=1, total=length, visible=length is None or length > 1)


def _emitter(form: str, progress: Progress) -> Callable[[FileScore], None]:
    shared = sys.stdout.isatty() and progress.console.is_terminal

    def write(text: str) -> None:
        # Through the progress bar's console where both share a terminal, or they would overlap.
        if shared:
            progress.console.print(text, markup=False, soft_wrap=True)
        else:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    if form == "json":
        return lambda line: write(json.dumps(_plain(line), allow_nan=False))
    if form == "csv":
        write(",".join(FileScore.__dataclass_fields__))
        return lambda line: write(_csv_row(line))
    write(f"{'verdict':<10}{'fake':>7}{'logit':>10}{'frames':>8}  source")
    return lambda line: write(_table_row(line))


def _plain(line: FileScore) -> dict[str, object]:
    stretches = None if line.stretches is None else [s._asdict() for s in line.stretches]
    worst = None if line.worst is None else line.worst._asdict()
    values = {name: getattr(line, name) for name in FileScore.__dataclass_fields__}
    provenance = claim_records(line.provenance)
    return values | {"stretches": stretches, "worst": worst, "provenance": provenance}


def _csv_row(line: FileScore) -> str:
    stretches = None if line.stretches is None else _times(line.stretches)
    worst = None if line.worst is None else _times([line.worst])
    row = io.StringIO()
    values = _plain(line) | {"stretches": stretches, "worst": worst}
    if values["provenance"] is not None:
        values["provenance"] = json.dumps(values["provenance"], ensure_ascii=False)
    # Names with the characters of its line end are quoted, so that it must be one.
    csv.writer(row, lineterminator="\r\n").writerow(values.values())
    return row.getvalue().removesuffix("\r\n")


def _times(stretches: Iterable[Stretch]) -> str:
    return " ".join(f"{stretch.begin_s:.1f}-{stretch.end_s:.1f}" for stretch in stretches)


def _table_row(line: FileScore) -> str:
    if line.verdict is None:
        return f"{'failed':<10}{'':>25}  {printable(line.error or '')}"
    declared = line.provenance.headline if line.provenance else ""
    notes = [printable(note) for note in (line.reason, line.error, declared) if note]
    note = f"  ({'; '.join(notes)})" if notes else ""
    if line.stretches:
        note = f"  fake {100 * (line.fake_share or 0):.0f} %: {_times(line.stretches)} s{note}"
    score = "–" if line.score is None else f"{100 * line.score:.1f} %"
    logit = "–" if line.logit is None else f"{line.logit:.3f}"
    return (
        f"{line.verdict:<10}{score:>7}{logit:>10}{line.frames:>8}  {printable(line.source)}{note}"
    )


def _summarise(total: int, counts: Counter[str]) -> None:
    declared = counts.pop("declared", 0)
    parts = ", ".join(f"{count} {name}" for name, count in counts.most_common() if count)
    console().print(f"{counted(total, 'file')}: {parts}")
    if declared:
        files = counted(declared, "file says", "files say")
        console().print(f"{files} where they come from. {RELATION}", soft_wrap=True)
