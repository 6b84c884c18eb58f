"""Run for long against real cameras on this machine, and see what becomes old and what grows.

    python -m benchmarks.soak --minutes 10
    python -m benchmarks.soak --minutes 60 --faults
    python -m benchmarks.soak --minutes 2 --cameras 8
    python -m benchmarks.soak --minutes 60 --rotate 60

Each camera is a process that sends H.264 over RTSP and numbers its pictures, so that the age of
whatever is scored is known and not only reported. The program's own loop watches them, with a model
that takes as long as one would on a small board. Ctrl-C keeps what was measured.

Exit codes: 0 every bound was kept, 1 one was not, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.progress import Progress

from benchmarks.cameras import AgeSink
from benchmarks.film import FPS
from benchmarks.measure import INTERRUPTED
from benchmarks.results_file import (
    OUTPUT,
    Conditions,
    conditions_now,
    describe_machine,
    file_stem,
    now,
    write_json,
)
from benchmarks.section import Row
from benchmarks.soak_run import SIZES, SLOW_MS, Soak, soak
from benchmarks.stats import percentiles
from benchmarks.tables import markdown_table
from edge.errors import PatchwatchError
from edge.live.loop import Camera
from edge.schema import code_commit
from edge.terminal import console, positive, show_notes
from edge.weights import DEFAULT

THEME, SCHEMA = "soak", 1

INFERENCES = 2.0
"""How old a scored frame may be, p99, in inference times, with one camera."""

GROWTH_MB_PER_H, GROWTH_WATCHED_S = 5.0, 240.0
"""Of memory; a slope over less time says nothing, as memory comes in steps."""

ALIVE_S = 5.0
"""A camera is alive at the end if it was scored within this time."""

SHARES_APART = 0.1
"""How far the cameras' shares of skipped frames may lie apart, and of scored ones as a ratio."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Something that a soak must keep: what was found (None for nothing) is at most the limit."""

    name: str
    found: float | None
    limit: float
    unit: str

    @property
    def kept(self) -> bool:
        """Whether it was kept; nothing was, where nothing was measured."""
        return self.found is not None and self.found <= self.limit


def main(argv: Sequence[str] | None = None) -> int:
    """Run a soak, print what it found and write its file."""
    measured = Soak(_parsed(argv))
    show_notes(quiet=True)  # a note would tear the bar
    conditions = conditions_now()
    try:
        with Progress(console=console(), transient=True) as progress:
            soak(measured, progress)
        content = result(measured, conditions)
        path = measured.args.report or OUTPUT / f"{file_stem(THEME)}.json"
        write_json(path, content)
    except PatchwatchError as error:
        console().print(f"error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    console().print(report(measured), markup=False, soft_wrap=True)
    sys.stdout.write(f"{path}\n")
    if measured.interrupted:
        return INTERRUPTED
    return 0 if all(bound.kept for bound in bounds(measured)) else 1


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=_above_0, required=True, metavar="M")
    add("--cameras", type=positive, default=1, metavar="N", help="(default: 1)")
    add("--size", choices=tuple(SIZES), default="720p", help="(default: 720p)")
    add("--fps", type=_above_0, default=FPS, metavar="F", help="(default: 30)")
    slow = f"(default: {SLOW_MS:g} with one camera, 0 with more)"
    add("--slow-ms", type=float, metavar="MS", help=f"what an inference takes at least {slow}")
    add("--model", default=DEFAULT, metavar="M", help="(default: %(default)s)")
    add("--faults", action="store_true", help="kill and freeze cameras meanwhile")
    add("--seed", type=int, default=0, metavar="N", help="of the faults")
    add("--rotate", type=_above_0, metavar="S", help="write lines, and a new file this often, in s")
    add("--report", type=Path, metavar="F.json", help=f"(default: a name of its own in {OUTPUT})")
    return parser.parse_args(argv)


def _above_0(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


def ages(values: Sequence[float]) -> dict[str, float] | None:
    """Percentiles and the largest of ages in ms; None where there are none."""
    if not len(values):
        return None
    found = percentiles(values, (50, 90, 99)) | {"max": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


def inference_ms(measured: Soak) -> float | None:
    """The median time that the model took for the frames of one turn; None if it never ran."""
    rows = [camera.summary.latencies_ms.get("model", ()) for camera, _ in measured.cameras]
    values = [ms for row in rows for ms in row]
    return median(values) if values else None


def all_ages(measured: Soak) -> dict[str, float] | None:
    """True ages of the scored frames of all cameras."""
    return ages([age for _, sink in measured.cameras for age in sink.ages_ms])


def skip_share(camera: Camera, sink: AgeSink) -> float | None:
    """Share of a camera's frames that were not scored; None before the first."""
    received = camera.source.health().received
    return max(0.0, 1 - sink.scored / received) if received else None


def bounds(measured: Soak) -> list[Bound]:
    """All that this soak must keep."""
    return [*_age_bound(measured), *_growth_bounds(measured), *_camera_bounds(measured)]


def _age_bound(measured: Soak) -> Iterator[Bound]:
    found = all_ages(measured)
    # Several cameras wait for one another, so that their frames are older by the others' turns.
    if len(measured.cameras) == 1:
        limit = INFERENCES * (inference_ms(measured) or 0.0)
        yield Bound("age p99", found["p99"] if found else None, round(limit, 2), "ms")


def _growth_bounds(measured: Soak) -> Iterator[Bound]:
    begin, end = measured.begin, measured.end
    if begin is None or end is None:
        return
    yield Bound("open files at the end", end.files, begin.files, "")
    yield Bound("threads at the end", end.threads, begin.threads, "")
    if measured.args.rotate:
        yield Bound("lines lost", measured.lines_lost, 0, "")
    if measured.elapsed_s - measured.warm_up_s >= GROWTH_WATCHED_S:
        slope = measured.slope_mb_per_h()
        found = None if slope is None else round(slope, 2)
        yield Bound("memory growth", found, GROWTH_MB_PER_H, "MB/h")


def _camera_bounds(measured: Soak) -> Iterator[Bound]:
    silent_s = [_silent_s(measured, sink) for _, sink in measured.cameras]
    known = [value for value in silent_s if value is not None]
    longest = max(known) if known and len(known) == len(silent_s) else None
    yield Bound("longest since a camera was scored, at the end", longest, ALIVE_S, "s")
    # With faults, a camera that was away longer is compared by luck.
    if len(measured.cameras) < 2 or measured.args.faults:
        return
    found = [skip_share(*pair) for pair in measured.cameras]
    shares = [share for share in found if share is not None]
    complete = len(shares) == len(found)
    apart = round(max(shares) - min(shares), 4) if complete else None
    yield Bound("skipped shares apart", apart, SHARES_APART, "")
    scored = [1 - share for share in shares]
    ratio = round(max(scored) / min(scored) - 1, 4) if complete and min(scored) > 0 else None
    yield Bound("scored shares apart, as a ratio", ratio, SHARES_APART, "")


def _silent_s(measured: Soak, sink: AgeSink) -> float | None:
    return None if sink.last_s is None else round(max(0.0, measured.ended_s - sink.last_s), 2)


def result(measured: Soak, conditions: Conditions) -> dict[str, object]:
    """The content of a result file, plain JSON."""
    inference, found = inference_ms(measured), all_ages(measured)
    step = max(1, -(-len(measured.rss_mb) // 120))
    return {
        "schema": SCHEMA,
        "theme": THEME,
        "time": now(),
        "commit": code_commit(),
        "machine": describe_machine(),
        "config": {name: value for name, value in vars(measured.args).items() if name != "report"},
        "conditions": conditions.model_dump(),
        "interrupted": measured.interrupted,
        "elapsed_s": round(measured.elapsed_s, 1),
        "inference_ms": inference,
        "age_ms": found,
        "age_p99_inferences": round(found["p99"] / inference, 3) if found and inference else None,
        "cameras": [_row(measured, *pair) for pair in measured.cameras],
        "faults": dict(measured.faults),
        "memory": {
            "warm_up_s": round(measured.warm_up_s, 1),
            "growth_mb_per_h": measured.slope_mb_per_h(),
            "begin": asdict(measured.begin) if measured.begin else None,
            "end": asdict(measured.end) if measured.end else None,
            "rss_mb": [round(value, 2) for value in measured.rss_mb[::step]],
        },
        "bounds": [asdict(bound) | {"kept": bound.kept} for bound in bounds(measured)],
    }


def _row(measured: Soak, camera: Camera, sink: AgeSink) -> Row:
    health, share = camera.source.health(), skip_share(camera, sink)
    return {
        "name": camera.name,
        "received": health.received,
        "scored": sink.scored,
        "skip_share": share and round(share, 4),
        "old": health.old,
        "unreadable": sink.unreadable,
        "no_signal": sink.silent,
        "reconnects": health.reconnects,
        "opens": health.opens,
        "age_ms": ages(sink.ages_ms),
        "reported_age_ms": ages(sink.reported_ms),
        "silent_at_end_s": _silent_s(measured, sink),
    }


def report(measured: Soak) -> str:
    """A table of the cameras and a line for each bound."""
    names = ("p50", "p90", "p99", "max")
    head = ["camera", "scored", "skipped", "reconnects", *(f"age {name}, ms" for name in names)]
    body = []
    for camera, sink in measured.cameras:
        share, found = skip_share(camera, sink), ages(sink.ages_ms) or {}
        skipped = "" if share is None else f"{100 * share:.1f} %"
        cells = [camera.name, str(sink.scored), skipped, str(camera.source.health().reconnects)]
        body.append(cells + [f"{found[name]:.0f}" if name in found else "" for name in names])
    lines = [
        f"{bound.name}: {'nothing' if bound.found is None else f'{bound.found:g}'} of at most "
        f"{bound.limit:g} {bound.unit}: {'kept' if bound.kept else 'NOT KEPT'}"
        for bound in bounds(measured)
    ]
    return "\n".join([f"{measured.elapsed_s:.0f} s", markdown_table(head, body), *lines])


if __name__ == "__main__":
    sys.exit(main())
