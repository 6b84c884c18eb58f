"""Watch a source: score every frame, decide, draw and write.

SOURCE is a camera (0, /dev/video0, csi://0), a stream (rtsp://, http://, https://), a video file,
a picture, a folder of pictures or a glob in quotes. In the window: q or Esc quits, h toggles the
heat map, s saves a snapshot, space pauses.

Exit codes: 0 the source ended, 1 it failed or held pictures that could not be read, 2 wrong usage,
130 Ctrl-C, 143 SIGTERM; files are finished and can be played in every case.
"""

from __future__ import annotations

import argparse
import logging
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.commands.options import (
    add_model_arguments,
    backend_choice,
    console,
    open_detector,
    positive,
    show_notes,
)
from edge.commands.outputs import has_window, make_sinks, stdout_for_lines
from edge.config import RunConfig, load_config, override
from edge.engines.store import BuildEngine
from edge.errors import SourceError, UsageError
from edge.pace import Pacer
from edge.pipeline import Pipeline, Summary
from edge.signals import Stopped, stop_signals
from edge.sinks.controls import Controls
from edge.sinks.jsonl import STDOUT
from edge.sources import open_source

log = logging.getLogger(__name__)

PERCENTILES = (50, 90, 95, 99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch run`."""
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="what to watch")
    add_model_arguments(parser, default_model=None)
    parser.add_argument("--save", metavar="OUT.mp4", help="write the annotated video (H.264)")
    parser.add_argument("--json", metavar="OUT.jsonl", help="one JSON object per frame; - = stdout")
    parser.add_argument("--images", metavar="DIR", help="write annotated pictures into a folder")
    parser.add_argument("--snapshots", metavar="DIR", help="folder for the window's snapshots")
    parser.add_argument("--headless", action="store_true", help="open no window")
    parser.add_argument("--no-heat-map", action="store_true", help="start with the heat map off")
    parser.add_argument("--frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML; a flag overrides a key")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def run(args: argparse.Namespace) -> int:
    """Run it; see the module's text for the exit codes."""
    show_notes(args.quiet)
    config = _configure(args)
    try:
        with stop_signals():
            build = getattr(args, "build_engine", None)
            summary = watch(config, None if args.quiet else console(), build)
    except Stopped as stopped:
        log.info("interrupted; everything written so far was finished")
        return stopped.exit_code
    if not args.quiet:
        _print_summary(summary)
    return _exit_code(summary)


def watch(
    config: RunConfig, progress: Console | None = None, build: BuildEngine | None = None
) -> Summary:
    """Run a configuration to its end.

    Args:
        config: with a source.
        progress: a terminal to show the progress on; None for none.
        build: builds a TensorRT engine that is not there; None if nothing can.

    Raises:
        UsageError: no source.
        PatchwatchError: the source, the model or a sink failed.
    """
    if config.source is None:
        raise UsageError("no source. Expected a camera, stream, file or folder; see 'run --help'.")
    controls = Controls(heat_map=config.output.heat_map)
    lines_alone = str(config.output.json_lines) == STDOUT
    with (
        stdout_for_lines() if lines_alone else nullcontext(),
        open_detector(
            config.model, config.region, backend_choice(config.backend, build)
        ) as detector,
        open_source(
            config.source,
            **config.capture.model_dump(),
        ) as source,
    ):
        sinks = make_sinks(config.output, controls, source, progress)
        return Pipeline(
            source,
            detector,
            sinks,
            config.verdict.settings(),
            controls,
            max_frames=config.max_frames,
            pacer=Pacer() if has_window(sinks) else None,
        ).run()


def _configure(args: argparse.Namespace) -> RunConfig:
    config = load_config(args.config) if args.config else RunConfig()
    return override(
        config,
        {
            "source": args.source,
            "model": args.model,
            "region": args.region,
            "max_frames": args.frames,
            "backend.threads": args.threads,
            "backend.name": args.backend,
            "backend.device": args.device,
            "backend.precision": args.precision,
            "output.save": args.save,
            "output.json_lines": args.json,
            "output.images": args.images,
            "output.snapshots": args.snapshots,
            "output.window": False if args.headless else None,
            "output.heat_map": False if args.no_heat_map else None,
        },
    )


def _exit_code(summary: Summary) -> int:
    if summary.frames and not summary.scored:
        reasons = "; ".join(summary.errors)
        raise SourceError(f"none of the {summary.frames} frames could be scored: {reasons}")
    return 1 if summary.skipped else 0


def _print_summary(summary: Summary) -> None:
    out = console()
    states = ", ".join(
        f"{state} {100 * count / summary.states.total():.0f} %"
        for state, count in summary.states.most_common()
    )
    out.print(
        f"{summary.frames} frames in {summary.elapsed_s:.1f} s ({summary.fps:.1f} fps end to end); "
        f"frames by verdict: {states or 'none'}"
    )
    for error, count in summary.errors.items():
        out.print(f"{count} frames gave no evidence: {error}")
    if summary.skipped:
        out.print(f"{summary.skipped} pictures could not be read and were skipped")
    if summary.latencies_ms:
        out.print(_latency_table(summary))


def _latency_table(summary: Summary) -> Table:
    import numpy as np

    table = Table(title="latency_ms by stage", title_justify="left")
    table.add_column("stage")
    for p in PERCENTILES:
        table.add_column(f"p{p}", justify="right")
    table.add_column("max", justify="right")
    for stage, values in summary.latencies_ms.items():
        row = [*np.percentile(list(values), PERCENTILES), max(values)]
        table.add_row(stage, *(f"{value:.2f}" for value in row))
    return table
