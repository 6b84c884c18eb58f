"""Run for long against real cameras on this machine, and see what becomes old and what grows.

    python -m benchmarks.soak --minutes 10
    python -m benchmarks.soak --minutes 60 --faults
    python -m benchmarks.soak --minutes 2 --cameras 8

Each camera is a process that sends H.264 over RTSP and numbers its pictures, so that the age of
whatever is scored is known and not only told. The program's own station watches them, with a model
that takes as long as one would on a small board. Ctrl-C keeps what was measured.

Exit codes: 0 every bound was kept, 1 one was not, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from benchmarks.end_to_end.clips import FPS
from benchmarks.measure import INTERRUPTED
from benchmarks.results_file import conditions_now
from benchmarks.soak.figures import ages, all_ages, bounds, result, skip_share, usual_path
from benchmarks.soak.run import SIZES, Soak, SoakPlan, soak
from edge.errors import PatchwatchError
from edge.files import write_all
from edge.terminal import console, positive, show_notes
from edge.weights import DEFAULT
from training.evaluation.options import finite_above_0, not_negative

SLOW_MS = 333
"""An inference of the usual soak: three frames per second of a stream of thirty."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a soak, print what it found and write its file."""
    args = _parsed(argv)
    show_notes(quiet=True)  # a note would tear the bar
    conditions = conditions_now()
    try:
        with _Bar() as bar:
            measured = soak(_plan(args), bar.tell)
        content = result(measured, conditions)
        path = args.report or usual_path(content)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_all(path.parent, {path.name: text.encode()})
    except PatchwatchError as error:
        console().print(f"error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    _print(measured)
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
    parser.add_argument("--minutes", type=finite_above_0, required=True, metavar="M")
    parser.add_argument(
        "--cameras", type=positive, default=1, metavar="N", help="how many (default: 1)"
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="720p", help="(default: 720p)")
    parser.add_argument(
        "--fps", type=finite_above_0, default=FPS, metavar="F", help=f"(default: {FPS:g})"
    )
    parser.add_argument(
        "--slow-ms",
        type=not_negative,
        metavar="MS",
        help=f"what an inference takes at least; 0 for the model's own speed (default: {SLOW_MS} "
        "with one camera, 0 with more)",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT,
        metavar="M",
        help="a shipped model's name or a model file (default: %(default)s)",
    )
    parser.add_argument("--faults", action="store_true", help="kill and freeze cameras meanwhile")
    parser.add_argument(
        "--seed", type=not_negative, default=0, metavar="N", help="of the faults (default: 0)"
    )
    parser.add_argument(
        "--report", type=Path, metavar="F.json", help="(default: a name of its own in results/)"
    )
    return parser.parse_args(argv)


def _plan(args: argparse.Namespace) -> SoakPlan:
    slow_ms = args.slow_ms if args.slow_ms is not None else SLOW_MS * (args.cameras == 1)
    return SoakPlan(
        minutes=args.minutes,
        cameras=args.cameras,
        size=SIZES[args.size],
        fps=args.fps,
        slow_ms=slow_ms,
        model=args.model,
        faults=args.faults,
        seed=args.seed,
    )


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        minutes, seconds = divmod(round(task.remaining or 0), 60)
        return Text(f"{minutes}:{seconds:02} left")


class _Bar(Progress):
    """How far it is and what was found until now."""

    def __init__(self) -> None:
        columns = (BarColumn(bar_width=24), _Left(), TextColumn("{task.description}", markup=False))
        super().__init__(*columns, console=console(), transient=True)
        self._task = self.add_task("starting the cameras", total=None)

    def tell(self, measured: Soak) -> None:
        """Show it."""
        self.update(
            self._task,
            total=measured.plan.seconds,
            completed=measured.elapsed_s,
            description=_in_short(measured),
        )


def _in_short(measured: Soak) -> str:
    found, held = ages(all_ages(measured)), measured.end
    age = f"age p99 {found['p99']:.0f} ms" if found else "nothing scored yet"
    memory = f"{held.rss_mb:.0f} MB, {held.files} files, {held.threads} threads" if held else ""
    reconnects = sum(seen.health.reconnects for seen in measured.seen if seen.health)
    return f"{age}; {memory}; {reconnects} reconnects"


def _print(measured: Soak) -> None:
    out = console()
    out.print(_camera_table(measured))
    for bound in bounds(measured):
        found = "nothing" if bound.found is None else f"{bound.found:g}"
        word = "kept" if bound.kept else "NOT KEPT"
        out.print(f"{bound.name}: {found} of at most {bound.limit:g} {bound.unit}".rstrip(), word)


def _camera_table(measured: Soak) -> Table:
    table = Table(title=f"{measured.elapsed_s:.0f} s", title_justify="left")
    for name in ("camera", "scored", "skipped", "reconnects", "age_ms p50", "p90", "p99", "max"):
        table.add_column(name, justify="left" if name == "camera" else "right")
    for seen in measured.seen:
        share = skip_share(seen)
        found = ages(seen.watch.ages_ms) or {}
        table.add_row(
            seen.camera.name,
            str(seen.watch.scored),
            "" if share is None else f"{100 * share:.1f} %",
            str(seen.health.reconnects if seen.health else 0),
            *(f"{value:.0f}" for value in found.values()),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
