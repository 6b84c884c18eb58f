"""One line for each file: pictures and videos, whole or in parts that are put together again.

A part of a video gives what its frames showed; verdicts are made where the parts meet, so that
they are those of the whole.
"""

from __future__ import annotations

import glob
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from typing_extensions import Self

from edge.config import RunConfig
from edge.decision.judge import Judge
from edge.decision.recording import RecordingJudge, Stretch
from edge.decision.verdict import VerdictSettings
from edge.detector import NO_FACE, Detector, Stopwatch, combine
from edge.errors import PatchwatchError, SourceError, without_logins
from edge.manifest import Calibration
from edge.pipeline import Pipeline
from edge.provenance import Provenance
from edge.regions import NOTHING_TO_SEE
from edge.sinks.base import Sink
from edge.sources import open_recording, open_source, source_name
from edge.sources.address import scheme_of
from edge.sources.base import Source
from edge.sources.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, missing
from edge.sources.live import LiveSource
from edge.sources.walk import walk
from edge.types import Box, Evidence, Frame, Picture, Region, Result, State, Verdict
from edge.words import is_blank

_NO_IMAGE = np.zeros((1, 1, 3), np.uint8)
_NO_BOX = (0, 0, 1, 1)
_TRACKS = 1_000_000
"""Numbers of faces in a part of a video; each part counts its own."""
_MISSING_SHARE, _LEAST_MISSING_S = 0.02, 1.0


@dataclass(frozen=True, slots=True)
class FileScore:
    """One line of the output; what concerns time is null where the file is a picture.

    Attributes:
        source: the file's path.
        verdict: None where it failed before any frame was scored.
        score: calibrated P(fake); of a video that of the window which decided.
        logit: mean over frames.
        frames: how many were scored; those with nothing to see give no logit.
        error: why it failed, or failed in part.
        seconds: how long it is, as far as it was scored.
        fake_share: share of that time with the verdict `fake`, 0..1.
        stretches: what is fake: begin and end in seconds, and the highest score.
        worst: the window with the highest score, likewise.
        reason: what looks fake or is unclear, in words.
        picture: P(fake) of the picture alone, of the mean logit; None where faces alone are judged.
        faces: how many faces were judged; None where nobody looked for them.
        face: P(fake) of the one that leads, of its mean logit over the frames that show it.
        provenance: what the file says of itself; None where it was not read.
    """

    source: str
    verdict: State | None = None
    score: float | None = None
    logit: float | None = None
    frames: int = 0
    error: str | None = None
    seconds: float | None = None
    fake_share: float | None = None
    stretches: tuple[Stretch, ...] | None = None
    worst: Stretch | None = None
    reason: str | None = None
    picture: float | None = None
    faces: int | None = None
    face: float | None = None
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class Scales:
    """What turns logits into scores; `picture` is None where faces alone are judged, `faces` where
    nobody looks for them.
    """

    picture: Calibration | None
    faces: Calibration | None

    @classmethod
    def of(cls, detector: Detector, settings: VerdictSettings) -> Self:
        """Those of a detector's models, with the threshold of the settings."""
        own = settings.calibration(detector.backend.manifest.calibration)
        if detector.faces is None:
            return cls(own, None)
        faces = settings.calibration(detector.faces.backend.manifest.calibration)
        return cls(None if detector.region.kind == "faces" else own, faces)


class Look(NamedTuple):
    """What one frame of a part showed: faces as track, box and logit."""

    number: int
    time_s: float
    logit: float | None
    textured: bool
    error: str | None
    faces: tuple[tuple[int, Box, float], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of a video showed, and why it failed, or failed in part."""

    looks: tuple[Look, ...]
    scales: Scales
    error: str | None = None


class _Collector(Sink):
    """A sink that keeps what a line needs of each result; pictures have no `recording`."""

    name = "score"

    def __init__(self, recording: RecordingJudge | None, on_frame: Callable[[], object]) -> None:
        self.logits: list[float] = []
        self.blank = 0
        self.recording = recording
        self._on_frame = on_frame
        self.last: Verdict | None = None
        self.faces: dict[int, list[float]] = defaultdict(list)
        self.reasons: dict[State, Counter[str]] = defaultdict(Counter)

    def write(self, result: Result, picture: Picture) -> None:
        """Keep its logits and its verdict."""
        if blank := is_blank(result):
            self.blank += 1
        elif result.evidence is not None:
            self.logits.append(result.evidence.logit)
        if result.verdict.reason and not blank:
            self.reasons[result.verdict.state][result.verdict.reason] += 1
        for region in result.regions:
            if region.track is not None:
                self.faces[region.track].append(region.evidence.logit)
        if self.recording is not None:
            self.recording.add(result.frame.time_s, result.verdict)
        self.last = result.verdict
        self._on_frame()


class _Looks(Sink):
    """A sink that keeps what frames showed, for verdicts that are made elsewhere."""

    name = "score"

    def __init__(self) -> None:
        self.kept: list[Look] = []

    def write(self, result: Result, picture: Picture) -> None:
        """Keep the logits of its picture and its faces."""
        parts = [region for region in result.regions if region.track is None]
        faces = tuple(
            (region.track, region.xyxy, region.evidence.logit)
            for region in result.regions
            if region.track is not None
        )
        logit = combine(parts).logit if parts else None
        textured = any(region.textured for region in parts)
        frame = result.frame
        self.kept.append(Look(frame.index, frame.time_s, logit, textured, result.error, faces))


def find_files(
    paths: Iterable[str | Path], left_out: Callable[[str], object] = lambda path: None
) -> Iterator[Path | str]:
    """Each file given, whatever its name, and each picture and video in each folder given.

    A pattern that no shell replaced stands for the files that match; addresses stay text.

    What is hidden in a folder is left out; `left_out` is called with its path.
    """
    for given in paths:
        text, path = str(given), Path(given)
        if scheme_of(text) is not None:
            yield text
            continue
        if not os.path.lexists(path) and glob.has_magic(text):
            matches = [match for match in glob.iglob(text, recursive=True) if os.path.isfile(match)]
            yield from sorted(map(Path, matches)) or [path]
            continue
        if not path.is_dir():
            yield path
            continue
        # A link that leads nowhere is reported like any file that cannot be read.
        yield from sorted(map(Path, walk(str(path), is_scored, left_out)))


def is_scored(name: str) -> bool:
    """Whether a file in a folder is taken for a picture or a video, by its name."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def score_file(
    detector: Detector,
    path: Path | str,
    config: RunConfig,
    on_frame: Callable[[int | None], object] = lambda length: None,
    name: str | None = None,
) -> FileScore:
    """Score a file; a failure is reported in the line and never raised.

    Args:
        detector: on an open backend.
        path: a picture or a video; as text the http(s) address of one.
        config: its verdict, and which frames of a video are wanted.
        on_frame: called after each frame with how many there will be, if that is known.
        name: what it is called in the line and in messages; by default its path or address.
    """
    settings, sinks = config.verdict, list[_Collector]()

    def collect(source: Source) -> Sink:
        over = settings.for_recording(source.length, source.fps)
        recording = None if source.kind == "stills" else RecordingJudge(over)
        sinks.append(_Collector(recording, lambda: on_frame(source.length)))
        return sinks[0]

    name = name or _name(path)
    error = _watch(detector, path, config, collect, name)
    return _line(name, next(iter(sinks), None), error, Scales.of(detector, settings), settings)


def score_part(detector: Detector, path: Path, config: RunConfig, name: str) -> Part:
    """What the part of a video shows that `config` selects; its failure is reported in it."""
    sink = _Looks()
    error = _watch(detector, path, config, lambda source: sink, name)
    return Part(tuple(sink.kept), Scales.of(detector, config.verdict), error)


def join_parts(
    name: str, parts: Sequence[Part], settings: VerdictSettings, length: int, fps: float
) -> FileScore:
    """The line of a video whose parts were scored apart: that of the whole.

    A face that crosses from one part to the next counts as two.

    Args:
        name: of the video.
        parts: in order; at least one.
        settings: of its verdict.
        length: frames to be scored in all parts together.
        fps: of these frames.
    """
    scales, over = parts[0].scales, settings.for_recording(length, fps)
    judge = Judge(name, scales.picture, over, scales.faces)
    collector = _Collector(RecordingJudge(over), lambda: None)
    picture = Picture.of(_NO_IMAGE)
    for number, part in enumerate(parts):
        for look in part.looks:
            frame = Frame(_NO_IMAGE, look.number, 0.0, name, look.time_s)
            regions = list(_regions(look, number * _TRACKS))
            collector.write(judge.judge(frame, regions, look.error, Stopwatch()), picture)
    errors = list(dict.fromkeys(part.error for part in parts if part.error))
    scored = sum(len(part.looks) for part in parts)
    if not errors and length - scored > max(_MISSING_SHARE * length, _LEAST_MISSING_S * fps):
        errors = [
            f"{name}: ended after {scored} of {length} announced frames; the file is truncated or "
            "damaged."
        ]
    return _line(name, collector, "; ".join(errors) or None, scales, settings)


def _regions(look: Look, first_track: int) -> Iterator[Region]:
    if look.logit is not None:
        yield Region(_NO_BOX, (1, 1), Evidence(look.logit), textured=look.textured)
    for track, box, logit in look.faces:
        yield Region(box, (1, 1), Evidence(logit), track=first_track + track)


def _name(path: Path | str) -> str:
    if isinstance(path, str):
        return source_name(path)
    return str(path) if os.path.lexists(path) else without_logins(str(path))


def _watch(
    detector: Detector,
    path: Path | str,
    config: RunConfig,
    make_sink: Callable[[Source], Sink],
    name: str,
) -> str | None:
    """Give the frames of a file to a sink; returns why it failed, or failed in part."""
    error: str | None = None
    calibration = config.verdict.calibration(detector.backend.manifest.calibration)
    try:
        detector.restart()
        with _opened(path, config) as source:
            pipeline = Pipeline(
                source, detector, [make_sink(source)], config.verdict, calibration=calibration
            )
            pipeline.run()
            error = "; ".join(pipeline.summary.errors) or None
    except PatchwatchError as problem:
        error = str(problem).replace(str(path), name)
    # What concerns the region or the model does not know which file it was.
    return f"{name}: {error}" if error is not None and name not in error else error


def _opened(path: Path | str, config: RunConfig) -> Source:
    if isinstance(path, str):
        source = open_source(path, may_start_later=False, **config.capture.options())
        if isinstance(source, LiveSource):
            raise SourceError(f"{source.name}: goes on without an end. Watch it: patchwatch run.")
        return source
    if not os.path.exists(path):
        raise SourceError(f"{path}: {missing(path)}.")
    return open_recording(
        path, selection=config.capture.selection, decode_threads=config.backend.threads
    )


def _line(
    name: str,
    sink: _Collector | None,
    error: str | None,
    scales: Scales,
    settings: VerdictSettings,
) -> FileScore:
    finite = [logit for logit in sink.logits if math.isfinite(logit)] if sink is not None else []
    if sink is None or not (finite or sink.blank):
        none = NO_FACE if scales.picture is None else "no frames"
        return FileScore(name, error=error or none)
    if len(finite) < len(sink.logits):
        error = f"{len(sink.logits) - len(finite)} of {len(sink.logits)} logits are not finite"
    logit = math.fsum(finite) / len(finite) if finite else None
    judged = None if sink.recording is None else sink.recording.judge()
    last = sink.last or Verdict("uncertain")
    line = FileScore(name, last.state, last.score, logit, len(finite) + sink.blank, error)
    if judged is not None:
        line = replace(
            line,
            verdict=judged.verdict,
            score=judged.score,
            seconds=judged.seconds,
            fake_share=judged.fake_share,
            stretches=judged.stretches,
            worst=judged.worst,
        )
    return _with_faces(line, sink, scales, settings)


def _with_faces(
    line: FileScore, sink: _Collector, scales: Scales, settings: VerdictSettings
) -> FileScore:
    """The same line with its reason, and what is known of the faces where they are judged."""
    reasons = sink.reasons.get(line.verdict or "uncertain") or Counter[str]()
    reason = next((reason for reason, _ in reasons.most_common(1)), None)
    if line.score is None and sink.blank:
        reason = NOTHING_TO_SEE
    line = replace(line, reason=reason)
    if scales.faces is None:
        return line
    means = [
        math.fsum(logits) / len(logits)
        for logits in sink.faces.values()
        # One that only few frames show may be none.
        if len(logits) >= min(settings.min_frames, line.frames) and all(map(math.isfinite, logits))
    ]
    picture = scales.picture
    return replace(
        line,
        picture=None if picture is None or line.logit is None else picture.score(line.logit),
        faces=len(means),
        face=scales.faces.score(max(means)) if means else None,
    )
