"""Watch a source, or several at once: score, decide, draw and write.

SOURCE is a camera (0, /dev/video0, csi://0), a stream (rtsp://, http://, https://), a video file,
a picture, a folder of pictures or a glob in quotes. Several are cameras, streams or videos, which
are then played as a camera would send them; they share the model and are shown in one window.

A camera or stream that fails is reopened until it works, or as often as --retries allows; meanwhile
the verdict is no_signal. SIGHUP reloads --config: cameras whose settings changed are restarted.

In the window: q or Esc quits, h toggles the heat map, s saves a snapshot, space pauses; 1 to 9
enlarge a camera, 0 shows all.

Exit codes: 0 the sources ended, 1 one failed or held pictures or frames that could not be read, 2
wrong usage, 130 Ctrl-C, 143 SIGTERM; files are finished and can be played in every case.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.config import RunConfig, add_flags, flags_in, load_config, override, replace_sources
from edge.detector import Detector
from edge.errors import SourceError, UsageError
from edge.live.session import LiveSession, single
from edge.live.status import Outcome, summary_table
from edge.live.views import Controls, make_views
from edge.pace import Pacer
from edge.pipeline import Pipeline
from edge.signals import Stopped, hangups, stop_signals
from edge.sinks import make_sinks
from edge.sinks.base import SinkContext
from edge.sinks.jsonl import STDOUT, stdout_for_lines
from edge.sources import open_source
from edge.sources.base import Source
from edge.sources.live import LiveSource
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
            outcomes = watch(config, None if args.quiet else console(), build, reread)
    except Stopped as stopped:
        log.info("interrupted; everything written so far was finished")
        return stopped.exit_code
    if not args.quiet and len(outcomes) == 1:
        _print_summary(outcomes[0].summary)
    elif not args.quiet:
        console().print(summary_table(outcomes))
    return _exit_code(outcomes)


def watch(
    config: RunConfig,
    progress: Console | None = None,
    build: BuildEngine | None = None,
    reread: Callable[[], RunConfig] | None = None,
) -> list[Outcome]:
    """Run a configuration to its end.

    Args:
        config: with a source, or with cameras.
        progress: a terminal to show the progress on; None for none.
        build: builds a TensorRT engine that does not exist yet; None if nothing can.
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
        if config.source is not None:
            source = open_source(config.source, **config.capture.options())
            if not isinstance(source, LiveSource):
                return [_watch_recording(config, source, detector, progress)]
            config, reread = single(config, source.name), None
        session = LiveSession(config, detector, progress, reread)
        with nullcontext() if reread is None else hangups(session.reread_soon):
            return session.run()


def _watch_recording(
    config: RunConfig, unopened: Source, detector: Detector, progress: Console | None
) -> Outcome:
    controls = Controls(heat_map=config.output.heat_map)
    calibration = config.verdict.calibration(detector.backend.manifest.calibration)
    with unopened as source:
        views = make_views(config.output, controls, progress, source.name, source)
        watched = any(view.name == "show" for view in views)
        pipeline = Pipeline(
            source,
            detector,
            make_sinks(config, SinkContext(source.name, calibration.threshold, source.fps)),
            config.verdict,
            views=views,
            controls=controls,
            max_frames=config.max_frames,
            pacer=Pacer() if watched else None,
            calibration=calibration,
        )
        return Outcome(source.name, pipeline.run())


def _configure(args: argparse.Namespace) -> RunConfig:
    config = load_config(args.config) if args.config else RunConfig()
    return override(replace_sources(config, args.sources), flags_in(args))


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    for outcome in outcomes:
        summary = outcome.summary
        if summary.frames and not (summary.scored or summary.faceless):
            reasons = "; ".join(summary.errors)
            raise SourceError(
                f"{outcome.name}: none of the {summary.frames} frames could be scored: {reasons}"
            )
    return 1 if any(outcome.summary.skipped or outcome.failed for outcome in outcomes) else 0


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
    if summary.damaged:
        frames = "frame was" if summary.damaged == 1 else "frames were"
        out.print(f"{summary.damaged} damaged {frames} passed over")
    elif summary.skipped:
        pictures = "picture" if summary.skipped == 1 else "pictures"
        out.print(f"{summary.skipped} {pictures} could not be read")
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
