"""Score pictures and videos: a line for each file, folders are searched to the bottom.

A video's line is the verdict on the mean logit of its frames. Files that cannot be read are
reported, counted and skipped.

Exit codes: 0 every file was scored, 1 some failed, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import Progress

from edge.config import RunConfig, add_flags, flags_in, override
from edge.decision.verdict import VerdictSettings, judge_once
from edge.detector import NO_FACE, Detector, Stopwatch, combine
from edge.errors import PatchwatchError, SourceError, UsageError
from edge.sources import open_recording
from edge.sources.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from edge.terminal import console, open_detector, positive, progress_bar
from edge.types import State

MARGIN = VerdictSettings().margin


@dataclass(frozen=True, slots=True)
class FileScore:
    """One line of the output.

    Attributes:
        source: the file's path.
        verdict: None where it failed before any frame was scored.
        score: calibrated P(fake).
        logit: mean over frames.
        frames: how many were scored.
        error: why it failed, or failed in part.
    """

    source: str
    verdict: State | None = None
    score: float | None = None
    logit: float | None = None
    frames: int = 0
    error: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch score`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files and folders")
    add_flags(parser, "model", "region", "backend")
    parser.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="json: one per line"
    )
    parser.add_argument(
        "--every", type=positive, default=1, metavar="N", help="score every Nth frame of a video"
    )
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")


def run(args: argparse.Namespace) -> int:
    """Score every file; see the module's text for the exit codes."""
    config = override(RunConfig(), flags_in(args))
    files = list(find_files(args.paths))
    if not files:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        raise UsageError(
            f"no pictures or videos found. Expected files ending in {suffixes}; "
            "give others by name."
        )
    counts: Counter[str] = Counter()
    with (
        open_detector(config, getattr(args, "build_engine", None)) as detector,
        progress_bar(hidden=args.no_progress) as progress,
    ):
        emit = _emitter(args.format, progress)
        for path in progress.track(files, description="scoring"):
            line = score_file(detector, path, args.every)
            emit(line)
            counts["failed" if line.error else line.verdict or "failed"] += 1
    _summarise(len(files), counts)
    return 1 if counts["failed"] else 0


def find_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Each file given, whatever its name, and each picture and video in each folder given."""
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        yield from sorted(
            item for item in path.rglob("*") if item.suffix.lower() in known and item.is_file()
        )


def score_file(detector: Detector, path: Path, every: int = 1) -> FileScore:
    """Score a file; a failure is reported in the line and never raised.

    Args:
        detector: on an open backend.
        path: a picture or a video.
        every: score every Nth frame.
    """
    logits: list[float] = []
    error: str | None = None
    try:
        _collect_logits(detector, path, every, logits)
    except PatchwatchError as problem:
        error = str(problem)
    finite = [logit for logit in logits if math.isfinite(logit)]
    if error is None and len(finite) < len(logits):
        error = f"{len(logits) - len(finite)} of {len(logits)} logits are not finite"
    if not finite:
        return FileScore(
            str(path), error=error or (NO_FACE if detector.region.kind == "faces" else "no frames")
        )
    logit = math.fsum(finite) / len(finite)
    verdict = judge_once(detector.backend.manifest.calibration, logit, MARGIN)
    return FileScore(str(path), verdict.state, verdict.score, logit, len(finite), error)


def _collect_logits(detector: Detector, path: Path, every: int, logits: list[float]) -> None:
    if not path.exists():
        raise SourceError(f"{path}: no such file.")
    with open_recording(path) as source:
        for frame in source:
            if frame.index % every == 0:
                # Frames without a face are skipped, and a file of nothing else is an error.
                regions = detector.detect(frame.image, Stopwatch())
                if regions:
                    logits.append(combine(regions).logit)


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
        return lambda line: write(json.dumps(asdict(line), allow_nan=False))
    if form == "csv":
        write(",".join(FileScore.__dataclass_fields__))
        return lambda line: write(_csv_row(line))
    write(f"{'verdict':<10}{'score':>7}{'logit':>10}{'frames':>8}  source")
    return lambda line: write(_table_row(line))


def _csv_row(line: FileScore) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(asdict(line).values())
    return row.getvalue()


def _table_row(line: FileScore) -> str:
    if line.verdict is None or line.score is None or line.logit is None:
        return f"{'failed':<10}{'':>25}  {line.error}"
    note = f"  ({line.error})" if line.error else ""
    return (
        f"{line.verdict:<10}{100 * line.score:>5.1f} %{line.logit:>10.3f}{line.frames:>8}"
        f"  {line.source}{note}"
    )


def _summarise(total: int, counts: Counter[str]) -> None:
    parts = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    console().print(f"{total} {'file' if total == 1 else 'files'}: {parts}")
