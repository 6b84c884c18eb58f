"""Show what the detector finds, and what it misses, on photographs and generated pictures.

Scores a few of each that come with packages and were not used for training, prints the verdict on
every one, and makes two clips of the three of each kind that are judged most clearly: H.264 in slow
motion, side by side at 720p. With --faces the clips are a photograph and the same with another
face, and both models are asked. Writes the clips, annotated.mp4, overlay.jpg and frames.jsonl to
the output folder, and opens a window where there is a display.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from edge.api import Patchwatch, open_detector
from edge.demo import FPS, KINDS, PORTRAIT, SECONDS_EACH, SHOWN, SWAP, Kind, frames, swap
from edge.errors import SinkError
from edge.files import write_whole
from edge.live.screen import display_problem
from edge.live.views import Controls
from edge.live.window import WindowView
from edge.overlay import Painter
from edge.overlay.grid import Cell, Grid
from edge.signals import Stopped, stop_signals
from edge.sinks.images import encode_image
from edge.sinks.jsonl import JsonLinesSink
from edge.sinks.recording import RecordingSink
from edge.sources.images import read_image
from edge.terminal import console, progress_bar, show_notes
from edge.types import Frame, Image, Picture, Result, State, Verdict
from edge.weights import DEFAULT
from edge.words import STATE_WORDS, fake_percent

log = logging.getLogger(__name__)

SELECTION = (
    "The generated pictures were picked as ones that an earlier model found: this shows how a find "
    "looks, not how often there is one; the model card has that."
)
FACES = (
    "The swap was made by this program: a generated face put onto a photograph by NASA, neither of "
    "which was used for training. How often swaps are found stands in docs/faces.md."
)
FACES_MODEL = "lite0-faces"
SIZE_WH, STILL_WH = (1280, 720), (1280, 480)
"""Of the video, and of its picture, which leaves the bars out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch demo`."""
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: out/demo")
    parser.add_argument("--model", default=DEFAULT, metavar="M", help=f"default: {DEFAULT}")
    parser.add_argument("--faces", action="store_true", help="a swapped face, and both models")
    parser.add_argument("--headless", action="store_true", help="open no window")


def run(args: argparse.Namespace) -> int:
    """Score the pictures, make the clips, watch them and print the tables."""
    show_notes()
    folder: Path = args.output or Path("out/demo-faces" if args.faces else "out/demo")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{folder}: cannot be created ({error.strerror}).") from error
    out = console()
    try:
        with stop_signals():
            shown = _faces if args.faces else _pictures
            shown(args.model, folder, not args.headless)
    except Stopped as stopped:
        log.info("interrupted; everything written so far was finished")
        return stopped.exit_code
    out.print(FACES if args.faces else SELECTION)
    out.print(f"side by side: {folder / 'annotated.mp4'}; one line per frame: frames.jsonl")
    return 0


def _pictures(model: str, folder: Path, window: bool) -> None:
    """Photographs beside generated pictures."""
    with open_detector(model) as detector:
        log.info("photographs and generated pictures, none of which was used for training")
        chosen = [_choose(detector, kind) for kind in KINDS]
        clips = {
            kind.name: _write_clip(folder, kind.name, map(read_image, paths), kind.size_hw)
            for kind, paths in chosen
        }
        results = _watch(detector, clips, folder, SHOWN, window)
    for name, watched in results.items():
        shares = ", ".join(
            f"{STATE_WORDS[state]} {100 * count / watched.states.total():.0f} %"
            for state, count in watched.states.most_common()
        )
        console().print(f"the clip of {name}, share of its time: {shares}")


def _faces(model: str, folder: Path, window: bool) -> None:
    """A photograph beside the same with another face: what both models say of both."""
    with open_detector(model, faces={"model": FACES_MODEL}) as detector:
        pictures = zip((PORTRAIT.name, SWAP), swap(), strict=True)
        clips = {
            name: _write_clip(folder, name, [picture], PORTRAIT.size_hw)
            for name, picture in pictures
        }
        results = _watch(detector, clips, folder, 1, window)
    table = Table(title="at the end of each clip", title_justify="left")
    for heading in ("shown", f"picture: {model}", f"face: {FACES_MODEL}"):
        table.add_column(heading)
    for name, watched in results.items():
        faces = (r.verdict for r in watched.last.regions if r.track is not None)
        table.add_row(name, *map(_in_words, (watched.last.picture, *faces)))
    console().print(table)
    alarm, find = (watched.states["fake"] > 0 for watched in results.values())
    console().print("The swap was found." if find else "The swap was missed.")
    if alarm:
        console().print("The photograph was called fake: a false alarm.")


def _in_words(verdict: Verdict | None) -> str:
    """Verdict and score in a cell."""
    return "" if verdict is None else f"{STATE_WORDS[verdict.state]}, {fake_percent(verdict.score)}"


@dataclass(slots=True)
class _Watched:
    """A clip: the last result, and how many frames had which verdict."""

    last: Result
    states: Counter[State]


def _choose(detector: Patchwatch, kind: Kind) -> tuple[Kind, list[Path]]:
    """Score all pictures of a kind, print the table, and choose those that are judged clearest."""
    table = Table(title=kind.name, title_justify="left")
    for heading in ("picture", "verdict", "score", ""):
        table.add_column(heading)
    scored: list[tuple[float, Path]] = []
    with progress_bar() as bar:
        for path in bar.track(kind.paths(), description=f"scoring {kind.name}"):
            verdict = detector.score(path)
            right = ("real", "fake")[kind.label]
            judged = {right: "right", "uncertain": "undecided"}.get(verdict.state, "wrong")
            word = STATE_WORDS[verdict.state]
            table.add_row(path.stem, word, fake_percent(verdict.score), judged)
            scored.append((verdict.score or 0.0, path))
    console().print(table)
    scored.sort(reverse=kind.label == 1)
    return kind, [path for _, path in scored[:SHOWN]]


def _write_clip(
    folder: Path, name: str, pictures: Iterable[Image], size_hw: tuple[int, int]
) -> Path:
    """Encode a clip as H.264."""
    clip = folder / f"{name.replace(',', '').replace(' ', '-')}.mp4"
    with progress_bar() as bar, RecordingSink(clip) as video:
        shown = bar.track(frames(pictures, size_hw), description=f"assembling {clip.name}")
        for index, picture in enumerate(shown):
            frame = Frame(picture, index, index / FPS, "demo", pts=index / FPS)
            video.write(Result(frame, None, Verdict("uncertain")), Picture.of(picture))
    return clip


def _watch(
    detector: Patchwatch, clips: dict[str, Path], folder: Path, pictures: int, window: bool
) -> dict[str, _Watched]:
    """Watch clips of that many pictures side by side."""
    painters = [Painter(detector.calibration, detector.manifest.patches) for _ in clips]
    controls, grid = Controls(), Grid()
    seen: dict[str, _Watched] = {}
    length = pictures * FPS * SECONDS_EACH
    with ExitStack() as stack:
        video = stack.enter_context(RecordingSink(folder / "annotated.mp4"))
        lines = stack.enter_context(JsonLinesSink(folder / "frames.jsonl"))
        bar = stack.enter_context(progress_bar())
        view = None
        if window and display_problem() is None:
            view = stack.enter_context(WindowView(controls, "Patchwatch · demo", folder))
            view.sources(list(clips))
        rounds = zip(*(detector.watch(clip) for clip in clips.values()), strict=True)
        for index, results in enumerate(bar.track(rounds, total=length)):
            if controls.stop:
                break
            cells = []
            for name, result, painter in zip(clips, results, painters, strict=True):
                picture = painter.picture(result)
                cells.append(Cell(name, result, picture.hud))
                watched = seen.setdefault(name, _Watched(result, Counter()))
                watched.last = result
                watched.states[result.verdict.state] += 1
                lines.write(result, picture)
                if view is not None:
                    view.result(name, result, picture)
            if view is not None:
                view.tick()
            image = grid.compose(cells, SIZE_WH)
            frame = Frame(image, index, index / FPS, "demo", pts=index / FPS)
            video.write(Result(frame, None, Verdict("uncertain")), Picture.of(image))
            if index == length // 2 + FPS:
                still = grid.compose(cells, STILL_WH)
                write_whole(folder / "overlay.jpg", encode_image(still, ".jpg"))
    return seen
