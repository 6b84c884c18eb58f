"""Run the detector on a clip that it assembles itself.

Photographs in slow motion (H.264), followed by the same photographs after a small neural
up-sampling decoder. Writes clip.mp4, annotated.mp4 and frames.jsonl to the output folder, opens a
window where there is a display, and prints the model's verdict on each half: right, wrong or
undecided.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from edge.commands.run import watch
from edge.config import RunConfig
from edge.config.parts import OutputConfig
from edge.decision.verdict import judge_once
from edge.demo import FPS, Part, frames, load_parts
from edge.errors import SinkError
from edge.manifest import Calibration
from edge.signals import Stopped, stop_signals
from edge.sinks.recording import RecordingSink
from edge.terminal import console, open_detector, progress_bar, show_notes
from edge.types import Frame, Picture, Result, Verdict
from edge.weights import DEFAULT

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch demo`."""
    parser.add_argument("--output", type=Path, default=Path("out/demo"), metavar="DIR")
    parser.add_argument("--model", default=DEFAULT, metavar="M", help=f"default: {DEFAULT}")
    parser.add_argument("--headless", action="store_true", help="open no window")


def run(args: argparse.Namespace) -> int:
    """Make the clip, watch it and print the table."""
    show_notes()
    config = RunConfig(
        source=str(args.output / "clip.mp4"),
        model=args.model,
        output=OutputConfig(
            window=not args.headless,
            save=args.output / "annotated.mp4",
            json_lines=args.output / "frames.jsonl",
            snapshots=args.output,
        ),
    )
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{args.output}: cannot be created ({error.strerror}).") from error
    try:
        with stop_signals():
            parts = load_parts()
            write_clip(args.output / "clip.mp4", parts)
            watch(config, console())
    except Stopped as stopped:
        log.info("interrupted; everything written so far was finished")
        return stopped.exit_code
    with open_detector(config) as detector:
        calibration = detector.backend.manifest.calibration
    table = _table(parts, args.output / "frames.jsonl", calibration)
    out = console()
    out.print(table)
    out.print(f"Annotated video: {args.output / 'annotated.mp4'}; one line per frame: frames.jsonl")
    return 0


def write_clip(path: Path, parts: Sequence[Part]) -> None:
    """Encode the parts one after the other as H.264.

    Raises:
        SinkError: the file cannot be written.
    """
    length = sum(part.length for part in parts)
    pictures = (picture for part in parts for picture in frames(part))
    with progress_bar() as bar, RecordingSink(path) as video:
        shown = bar.track(pictures, total=length, description="assembling the clip")
        for index, picture in enumerate(shown):
            frame = Frame(picture, index, index / FPS, "demo", pts=index / FPS)
            video.write(Result(frame, None, Verdict("uncertain")), Picture.of(picture))


def _table(parts: Sequence[Part], lines: Path, calibration: Calibration) -> Table:
    records = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    table = Table(title="The model's verdict on each half", title_justify="left")
    for heading in ("part", "truth", "frames", "verdict", "score", "frames by verdict", ""):
        table.add_column(heading)
    start = 0
    for part in parts:
        rows = records[start : start + part.length]
        start += part.length
        table.add_row(*_row(part, rows, calibration))
    return table


def _row(part: Part, rows: list[dict[str, object]], calibration: Calibration) -> tuple[str, ...]:
    logits = [logit for row in rows if isinstance(logit := row["logit"], float)]
    truth = ("real", "fake")[part.label]
    if not logits:
        return (part.name, truth, "0", "not reached", "", "", "")
    verdict = judge_once(calibration, math.fsum(logits) / len(logits))
    states = Counter(str(row["verdict"]) for row in rows)
    shares = ", ".join(f"{s} {100 * n / len(rows):.0f} %" for s, n in states.most_common())
    score = f"{100 * verdict.score:.1f} %" if verdict.score is not None else ""
    judged = {truth: "right", "uncertain": "undecided"}.get(verdict.state, "wrong")
    return (part.name, truth, str(len(rows)), verdict.state, score, shares, judged)
