"""Watch a source, or several at once: score, decide, draw and write.

SOURCE is a camera (0, /dev/video0, csi://0), a stream (rtsp://, http://, https://), a video file,
a picture, a folder or a glob. Several pictures are shown one after the other. Several cameras,
streams or videos (or a folder of videos) share the model and are shown in one window; the videos
are then played as a camera would send them.

The picture is judged by one model, and each face in it by another, where there is one; the verdict
is fake where either is, else the picture's, and says why.

A camera or stream that fails is reopened until it works, or as often as --retries allows; meanwhile
the verdict is no_signal. SIGHUP opens the file of --json again, and reloads --config: cameras whose
settings changed are restarted.

In the window: q or Esc quits, h toggles the heat map, s saves a snapshot, space pauses, ? shows the
keys; 1 to 9 enlarge a camera, 0 shows all.

Exit codes: 0 the sources ended, 1 one failed or held pictures or frames that could not be read, 2
wrong usage, 130 Ctrl-C, 143 SIGTERM; files are finished and can be played in every case.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.api import Patchwatch
from edge.config import RunConfig, add_flags, flags_in, load_config, override, replace_sources
from edge.detector import Detector
from edge.errors import SourceError, UsageError, printable
from edge.fleet import ModelStore, ModelUpdates
from edge.live.session import LiveSession, single
from edge.live.status import Outcome, summary_table
from edge.live.views import Controls, make_views
from edge.opening import open_detector
from edge.outputs import claimed_outputs
from edge.pace import Pacer
from edge.pipeline import Pipeline
from edge.regions import NOTHING_TO_SEE
from edge.signals import Stopped, hangups, stop_signals
from edge.sinks import make_sinks, wanted
from edge.sinks.base import SinkContext
from edge.sinks.jsonl import STDOUT, stdout_for_lines
from edge.sources import expand, open_source
from edge.sources.address import scheme_of
from edge.sources.base import Source
from edge.sources.live import LiveSource
from edge.sources.several import spread
from edge.sources.stills import StillsSource
from edge.summary import Summary
from edge.tensorrt.store import BuildEngine
from edge.terminal import console, notes_are_json, show_notes
from edge.words import (
    MEANING,
    STATE_WORDS,
    counted,
    duration,
    fake_percent,
    percent,
    position,
    share_of_time,
)

log = logging.getLogger(__name__)

PERCENTILES = (50, 90, 95, 99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch run`."""
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="what to watch")
    add_flags(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML; flags override its keys")
    parser.add_argument("--verbose", action="store_true", help="print latencies at the end")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def run(args: argparse.Namespace) -> int:
    """Run it; see the module's text for the exit codes."""
    show_notes(args.quiet)
    silent = args.quiet or notes_are_json()
    config = _configure(args)
    reread = (lambda: _configure(args)) if args.config and not args.sources else None
    try:
        with stop_signals():
            build = getattr(args, "build_engine", None)
            read = [args.config] if args.config else []
            with claimed_outputs(config, read):
                outcomes = watch(config, None if silent else console(), build, reread)
    except Stopped as stopped:
        log.info("interrupted; everything written so far was finished")
        return stopped.exit_code
    if not silent and len(outcomes) == 1:
        _print_summary(outcomes[0], config, args.verbose)
    elif not silent:
        console().print(summary_table(outcomes))
        for line in _places(config):
            console().print(printable(line), markup=False, soft_wrap=True)
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
    if not config.named_sources():
        raise UsageError("no source. Expected a camera, stream, file or folder; see 'run --help'.")
    lines_alone = str(config.output.json_lines) == STDOUT
    with ExitStack() as stack:
        stack.enter_context(stdout_for_lines() if lines_alone else nullcontext())
        store = ModelStore(config.models) if config.models.url else None
        fetched = None if store is None else store.current()
        named, config = config.model, _with_model(config, fetched)
        first = stack.enter_context(Patchwatch(config, build))
        detector = first.detector
        session: LiveSession | None = None

        def hung_up() -> None:
            if session is not None and reread is not None:
                session.reread_soon()

        # Also where there is nothing to read again: files of lines are opened anew.
        stack.enter_context(hangups(hung_up))
        source = _single_source(config)
        if source is not None and not isinstance(source, LiveSource):
            return [_watch_recording(config, source, detector, progress)]
        if source is not None:
            config, reread = single(config, source.name), None
        updates = None
        if store is not None:
            updates = stack.enter_context(
                ModelUpdates(
                    store,
                    lambda path: open_detector(_with_model(config, path), build),
                    config.models.every_s,
                    detector.backend.manifest.region,
                )
            )
        again = reread and (lambda: _with_model(reread(), fetched, named))
        session = LiveSession(config, detector, progress, again, updates, first.close)
        return session.run()


def _single_source(config: RunConfig) -> Source | LiveSource | None:
    """What is to be watched, not open yet; None of cameras, which the session opens."""
    if config.pictures:
        name = config.named_sources()[0][1]
        return StillsSource(name, [expand(path) for path in config.pictures])
    if config.source is not None:
        return open_source(config.source, **config.capture.options())
    return None


def _with_model(config: RunConfig, path: Path | None, instead_of: str | None = None) -> RunConfig:
    """A configuration with a model that was fetched, in place of a certain one or of any."""
    if path is None or instead_of not in (None, config.model):
        return config
    return config.model_copy(update={"model": str(path)})


def _watch_recording(
    config: RunConfig, unopened: Source, detector: Detector, progress: Console | None
) -> Outcome:
    controls = Controls(heat_map=config.output.heat_map)
    calibration = config.verdict.calibration(detector.backend.manifest.calibration)
    with unopened as source:
        model = detector.backend.manifest
        views = make_views(config, controls, progress, source.name, model, source)
        watched = any(view.name in ("show", "web") for view in views)
        skips = not (config.output.all_frames or wanted(config))  # what is written has all
        is_file = source.kind == "file" and scheme_of(config.source or "") is None
        sound = None
        if config.output.save is not None and config.source is not None:
            from edge.sinks.sound import sound_of

            sound = sound_of(config.source, expand(config.source) if is_file else None)
        context = SinkContext(source.name, source.fps, model, sound)
        pipeline = Pipeline(
            source,
            detector,
            make_sinks(config, context),
            config.verdict,
            views=views,
            controls=controls,
            max_frames=config.max_frames,
            pacer=Pacer(skips=skips) if watched else None,
            calibration=calibration,
            declared=config.provenance.reader(),
        )
        return Outcome(source.name, pipeline.run())


def _configure(args: argparse.Namespace) -> RunConfig:
    config = load_config(args.config) if args.config else RunConfig()
    return override(replace_sources(config, spread(args.sources)), flags_in(args))


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    for outcome in outcomes:
        summary = outcome.summary
        if summary.frames and not (summary.scored or summary.faceless):
            reasons = "; ".join(summary.errors)
            raise SourceError(
                f"{outcome.name}: none of the {summary.frames} frames could be scored: {reasons}"
            )
    return 1 if any(outcome.summary.skipped or outcome.failed for outcome in outcomes) else 0


def _print_summary(outcome: Outcome, config: RunConfig, verbose: bool) -> None:
    """What was decided, over how long, the worst moments, and where the outputs are."""
    summary, out = outcome.summary, console()

    def say(text: str) -> None:
        out.print(printable(text), markup=False, soft_wrap=True)

    reasons = summary.reasons.most_common()
    fakes = [f"fake in {counted(n, 'frame')}: {why}" for why, n in reasons]
    for line in (*_decided(outcome), *fakes, *_left_out(summary)):
        say(line)
    for line in _places(config):
        say(line)
    frames = counted(summary.frames, "frame")
    say(f"{frames} in {summary.elapsed_s:.1f} s ({summary.fps:.1f} fps end to end)")
    stages = {**summary.latencies_ms, **({"age": summary.ages_ms} if summary.ages_ms else {})}
    if stages and verbose:
        out.print(_latency_table(stages))


def _places(config: RunConfig) -> Iterator[str]:
    """Where the outputs are; of events whether there are any."""
    named = config.named_sources()
    found = [(kind, str(kind.place(of, name))) for of, name in named for kind in wanted(of)]
    sent = {place: "" for kind, place in found if kind.section == "sinks"}
    files = {
        place: ""
        for kind, place in found
        if place != STDOUT and kind.name != "events" and kind.section != "sinks"
    }
    for said, places in (("written", files), ("receivers", sent)):
        if places:
            yield f"{said}: {', '.join(places)}"
    for folder in dict.fromkeys(place for kind, place in found if kind.name == "events"):
        yield f"events, a file and a picture of each: {folder}"


def _decided(outcome: Outcome) -> Iterator[str]:
    """The verdict on all of a source, in one line or more."""
    summary = outcome.summary
    judged = summary.recording.judge() if summary.recording is not None and summary.frames else None
    if judged is not None:
        score = fake_percent(judged.score)
        said = f"{STATE_WORDS[judged.verdict]} ({score}), {MEANING[judged.verdict]}"
        yield f"{outcome.name}: {said}; {share_of_time(judged.fake_share)}"
        for part in judged.stretches:
            times = f"{position(part.begin_s)} to {position(part.end_s)}"
            yield f"  fake from {times}, at most {percent(part.score)}"
        if not judged.stretches:
            yield f"  highest: {fake_percent(judged.worst.score)} at {position(judged.worst.end_s)}"
        return
    if outcome.health is not None:
        shares = ", ".join(
            f"{STATE_WORDS[state]} for {duration(seconds)}"
            for state, seconds in summary.state_s.items()
            if seconds >= 1
        )
        yield f"{outcome.name}: {shares or 'too short for a verdict'}"
        return
    counts = ", ".join(f"{count} {STATE_WORDS[state]}" for state, count in summary.states.items())
    yield f"{outcome.name}: {counts or 'nothing was scored'}"
    for highest, source in summary.highest:
        yield f"  {fake_percent(highest)}  {source}"


def _left_out(summary: Summary) -> Iterator[str]:
    """What the model was not asked about, or gave no verdict on."""
    if summary.late:
        yield f"{summary.late} frames were skipped to keep up; --all-frames shows each"
    if summary.unchanged:
        yield f"{summary.unchanged} frames were unchanged: the evidence before them was kept"
    if summary.blank:
        yield f"{NOTHING_TO_SEE} in {summary.blank} of {summary.frames} frames"
    if summary.faceless:
        yield f"no face was found in {summary.faceless} of {summary.frames} frames"
    for error, count in summary.errors.items():
        yield f"{count} frames gave no evidence: {error}"
    if summary.damaged:
        yield counted(summary.damaged, "damaged frame was", "damaged frames were") + " passed over"
    elif summary.skipped:
        yield f"{counted(summary.skipped, 'picture')} could not be read"


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
