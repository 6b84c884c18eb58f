"""Watch a source, or several at once: score, decide, draw and write.

SOURCE is a camera (0, /dev/video0, csi://0), a stream (rtsp://, http://, https://), a video file,
a picture, a folder of pictures or a glob in quotes. Several are cameras, streams or videos, which
are then played as a camera would send them; they share the model and are shown in one window.

A camera or stream that fails is opened again, for ever unless --retries says otherwise; meanwhile
the verdict is no_signal. SIGHUP reads --config again: cameras that changed start anew.

In the window: q or Esc quits, h toggles the heat map, s saves a snapshot, space pauses; 1 to 9
enlarge a camera, 0 shows all.

Exit codes: 0 the sources ended, 1 one failed or held pictures that could not be read, 2 wrong
usage, 130 Ctrl-C, 143 SIGTERM; files are finished and can be played in every case.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.commands.cameras import Seen, Watch, single
from edge.commands.outputs import has_window, make_sinks
from edge.config import (
    CaptureConfig,
    RunConfig,
    add_flags,
    flags_in,
    load_config,
    override,
    replace_sources,
)
from edge.detector import Detector
from edge.errors import SourceError, UsageError
from edge.pace import Pacer
from edge.pipeline import Pipeline
from edge.signals import Stopped, hangups, stop_signals
from edge.sinks.controls import Controls
from edge.sinks.jsonl import STDOUT, stdout_for_lines
from edge.sinks.status import summary_table
from edge.sources import open_source
from edge.sources.base import Source
from edge.sources.live import LiveSource
from edge.sources.web import WebSource
from edge.summary import Summary
from edge.tensorrt.store import BuildEngine
from edge.terminal import console, open_detector, show_notes

log = logging.getLogger(__name__)

PERCENTILES = (50, 90, 95, 99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch run`."""
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="what to watch")
    add_flags(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML; flags override its keys")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def run(args: argparse.Namespace) -> int:
    """Run it; see the module's text for the exit codes."""
    show_notes(args.quiet)
    config = _configure(args)
    reread = (lambda: _configure(args)) if args.config and not args.sources else None
    try:
        with stop_signals():
            build = getattr(args, "build_engine", None)
            seen = watch(config, None if args.quiet else console(), build, reread)
    except Stopped as stopped:
        log.info("interrupted; everything written so far was finished")
        return stopped.exit_code
    if not args.quiet:
        _show(seen)
    return _exit_code(seen)


def watch(
    config: RunConfig,
    progress: Console | None = None,
    build: BuildEngine | None = None,
    reread: Callable[[], RunConfig] | None = None,
) -> list[Seen]:
    """Run a configuration to its end.

    Args:
        config: with a source, or with cameras.
        progress: a terminal to show the progress on; None for none.
        build: builds a TensorRT engine that is not there; None if nothing can.
        reread: reads the configuration again at SIGHUP; None where it comes from no file.

    Returns:
        What became of each source.

    Raises:
        UsageError: no source.
        PatchwatchError: the source, the model or a sink failed.
    """
    if config.source is None and not config.cameras:
        raise UsageError("no source. Expected a camera, stream, file or folder; see 'run --help'.")
    lines_alone = str(config.output.json_lines) == STDOUT
    with (
        stdout_for_lines() if lines_alone else nullcontext(),
        open_detector(config, build) as detector,
    ):
        if config.source is None:
            return _watch_cameras(config, detector, progress, reread)
        source = _chosen(config.source, config.capture)
        if isinstance(source, LiveSource):
            return _watch_cameras(single(config, source.name), detector, progress)
        return [Seen(source.name, _watch_recording(config, source, detector, progress))]


def _watch_cameras(
    config: RunConfig,
    detector: Detector,
    progress: Console | None,
    reread: Callable[[], RunConfig] | None = None,
) -> list[Seen]:
    cameras = Watch(config, detector, progress, reread)
    with nullcontext() if reread is None else hangups(cameras.reread_soon):
        return cameras.run()


def _chosen(text: str, capture: CaptureConfig) -> Source:
    """The source, unopened; where only asking tells what it is, it was asked."""
    source = open_source(text, **capture.options())
    return source.resolve() if isinstance(source, WebSource) else source


def _watch_recording(
    config: RunConfig, unopened: Source, detector: Detector, progress: Console | None
) -> Summary:
    controls = Controls(heat_map=config.output.heat_map)
    calibration = config.verdict.calibration(detector.backend.manifest.calibration)
    with unopened as source:
        sinks = make_sinks(config, controls, source, calibration.threshold, progress)
        return Pipeline(
            source,
            detector,
            sinks,
            config.verdict.settings(),
            controls,
            max_frames=config.max_frames,
            pacer=Pacer() if has_window(sinks) else None,
            calibration=calibration,
        ).run()


def _configure(args: argparse.Namespace) -> RunConfig:
    config = load_config(args.config) if args.config else RunConfig()
    return override(replace_sources(config, args.sources), flags_in(args))


def _exit_code(seen: Sequence[Seen]) -> int:
    for one in seen:
        if one.summary.frames and not (one.summary.scored or one.summary.faceless):
            reasons = "; ".join(one.summary.errors)
            raise SourceError(
                f"{one.name}: none of the {one.summary.frames} frames could be scored: {reasons}"
            )
    return 1 if any(one.summary.skipped or one.failed for one in seen) else 0


def _show(seen: Sequence[Seen]) -> None:
    if len(seen) == 1:
        _print_summary(seen[0].summary)
    else:
        console().print(summary_table([one.row for one in seen if one.row is not None]))


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
    if summary.faceless:
        out.print(f"no face was found in {summary.faceless} of {summary.frames} frames")
    for error, count in summary.errors.items():
        out.print(f"{count} frames gave no evidence: {error}")
    if summary.skipped:
        out.print(f"{summary.skipped} pictures could not be read and were skipped")
    stages = {**summary.latencies_ms, **({"age": summary.ages_ms} if summary.ages_ms else {})}
    if stages:
        out.print(_latency_table(stages))


def _latency_table(stages: Mapping[str, Iterable[float]]) -> Table:
    import numpy as np

    table = Table(title="latency_ms by stage", title_justify="left")
    table.add_column("stage")
    for p in PERCENTILES:
        table.add_column(f"p{p}", justify="right")
    table.add_column("max", justify="right")
    for stage, values in stages.items():
        row = [*np.percentile(list(values), PERCENTILES), max(values)]
        table.add_row(stage, *(f"{value:.2f}" for value in row))
    return table
