"""The whole way: a clip through the pipeline, a live stream to its verdict, whole processes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.charts import COLOURS, missing_lines, one_axes
from benchmarks.section import Plan, Rendered, Row, Tick, of_kind
from benchmarks.tables import markdown_table, table_of
from edge.errors import PatchwatchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks.rates import Rate
    from edge.detector import Detector

WATCHED_S, QUICK_WATCHED_S = 6.0, 2.0
FRAMES, QUICK_FRAMES = 120, 24
ROUNDS, QUICK_ROUNDS = (3, 9), (1, 1)
"""Fewest and most."""

RATE_SHARE = 0.7
"""Of the section's time, for the rates."""

LEAST_RATIO, MOST_OTHER = 0.85, 0.15
"""Of whole frames of 1080p, without encoding: the rate as a part of what the slower of decoding and
the model alone would allow, and the part of the time that everything else may take."""

SEGMENTS: Mapping[str, tuple[str, ...]] = {
    "waiting for decode": ("capture",),
    "region": ("region",),
    "model": ("model",),
    "verdict": ("verdict",),
    "overlay": ("overlay",),
    "encode": ("encode",),
    "rest": ("rest", "drop"),
}
"""Shown name → stages."""


class EndToEndSection:
    """Frames per second, stage shares, glass to verdict, cold start, memory, processor share.

    All of the default model at its own region; and the rates of the smallest one on whole frames
    of the largest clip, where what is not the model weighs most.
    """

    name = "end_to_end"
    title = "End to end"

    def __init__(self) -> None:
        self._rates: list[Rate] = []
        self._others: list[Row] = []

    def rows(self) -> list[Row]:
        """What has been measured so far."""
        return [*(rate.row() for rate in self._rates if rate.rounds_fps), *self._others]

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Measure; the rates first, for they are what is wanted most.
        Raises PatchwatchError: a model cannot be used, or a clip not made.
        """
        from benchmarks.film import FULL_HD, HD, write_clip
        from benchmarks.glass import glass_to_verdict
        from benchmarks.processes import cold_start, peak_memory, processor_share
        from benchmarks.rates import CANDIDATES, DECODE, Rate, decode
        from edge.regions import parse_region
        from edge.weights import DEFAULT, TINY

        until = time.perf_counter() + RATE_SHARE * plan.budget_s.get(self.name, 60.0)
        frames = QUICK_FRAMES if plan.quick else FRAMES
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            default, tiny = (_opened(name, stack) for name in (DEFAULT, TINY))
            tiny.region = parse_region("native")
            for size in (HD, FULL_HD):
                clip = write_clip(folder / f"{size.name}.mp4", size, frames, plan.seed)
                held = decode(clip, 4)
                for name in CANDIDATES:
                    detector = None if name == DECODE else default
                    self._rates.append(Rate(clip, size, name, detector, held, frames))
                if size is FULL_HD:
                    self._rates += [Rate(clip, size, n, tiny, held, frames) for n in CANDIDATES[1:]]
            self._run_rounds(plan, until, tick)
            seconds = QUICK_WATCHED_S if plan.quick else WATCHED_S
            for size in (HD,) if plan.quick else (HD, FULL_HD):
                self._note(size.name, default, tick, glass_to_verdict, size, default, seconds)
            hd = folder / f"{HD.name}.mp4"
            for measure in (cold_start, peak_memory, processor_share):
                self._note(HD.name, default, tick, measure, DEFAULT, hd, plan.quick)

    def _run_rounds(self, plan: Plan, until: float, tick: Tick) -> None:
        fewest, most = QUICK_ROUNDS if plan.quick else ROUNDS
        for done in range(most):
            began = time.perf_counter()
            # Another one begins each round, so that none always follows the same one.
            for rate in self._rates[done:] + self._rates[:done]:
                tick(rate.run())
            now = time.perf_counter()
            if done + 1 >= fewest and now + (now - began) > until:
                return

    def _note(
        self,
        clip: str,
        detector: Detector,
        tick: Tick,
        measure: Callable[..., Row],
        *arguments: object,
    ) -> None:
        from benchmarks.rates import names_of

        try:
            row = measure(*arguments)
        except (PatchwatchError, RuntimeError) as error:
            row = {"missing": f"{measure.__name__.replace('_', ' ')}: {error}"}
        self._others.append({"clip": clip, **names_of(detector), **row})
        tick(f"{clip}, {measure.__name__.replace('_', ' ')}")


def _opened(model: str, stack: ExitStack) -> Detector:
    from edge.backends import BackendChoice, open_backend
    from edge.detector import Detector
    from edge.regions import parse_region
    from edge.weights import find_model

    backend = stack.enter_context(open_backend(find_model(model), choice=BackendChoice("auto")))
    detector = Detector(backend, parse_region(backend.manifest.region))
    detector.warm_up()
    return detector


_RATES = """### Through the pipeline

H.264 of moving texture with grain, made on the spot, each model at the region named with it. Every
round measures every candidate once; times run from before a clip is opened until all is closed.
*Decode alone* takes the frames from the source and drops them; *model alone* runs the backend on
decoded frames; each has all cores to itself, which in the pipeline they share. *Of the bound* is
the median over rounds of the rate as a part of the slower of these two. Decoding runs ahead in a
thread of its own: what shows is the time that the loop waited for it."""

_GLASS = """### Glass to verdict

From when a camera on this machine shows a picture to the verdict on it, in ms, in the loop that
`patchwatch run` has for live sources. Included: RTSP over local TCP, what FFmpeg holds back while
it parses and decodes, waiting for the model, the model and the verdict. Not included: a camera's
exposure and encoding, a network, a screen. What was sent while the stream was probed comes in a
burst in the first second, which is left out. A live source keeps the newest picture only: the
others are skipped."""

_GLASS_KEYS = ("latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "latency_max_ms")
_GLASS_COLUMNS = ("clip", *_GLASS_KEYS, "model_p50_ms", "scored_frames", "skipped_frames")


def render(rows: list[Row]) -> Rendered:
    """Tables and the plot of stage shares; a part without rows is left out."""
    rates: list[dict[str, Any]] = of_kind(rows, "rate", "part")
    parts = [_RATES, _rate_table(rates), *_verdicts(rates)] if rates else []
    if seen := of_kind(rows, "glass", "part"):
        parts += [_GLASS, table_of(seen, _GLASS_COLUMNS)]
    whole = list(_process_lines(rows))
    parts += ["### Whole processes", "\n".join(whole)] if whole else []
    staged = [row for row in rates if row.get("stages_ms")]
    figures = {"end_to_end_stages": stage_figure(staged)} if staged else {}
    return Rendered("\n\n".join([*parts, *missing_lines(rows)]), figures)


def _who(row: Mapping[str, Any]) -> str:
    return f"{row['model']} at {row['region']}" if row.get("model") else ""


def bound_ratio(row: Mapping[str, Any], rates: Sequence[Mapping[str, Any]]) -> float | None:
    """Median over rounds of a rate over the slower of decoding and the model alone."""
    alone = [
        other["rounds_fps"]
        for other in rates
        if other["clip"] == row["clip"]
        and (other["candidate"], _who(other)) in (("decode alone", ""), ("model alone", _who(row)))
    ]
    rounds = zip(row["rounds_fps"], *alone, strict=False)
    ratios = [achieved / min(bounds) for achieved, *bounds in rounds if len(bounds) == 2]
    return median(ratios) if ratios else None


def other_share(row: Mapping[str, Any]) -> float:
    """The part of a frame's time that is neither waiting for its decoding nor the model."""
    stages: Mapping[str, float] = row["stages_ms"]
    total = sum(stages.values())
    return (total - stages["capture"] - stages["model"]) / total


def _rate_table(rates: Sequence[dict[str, Any]]) -> str:
    head = ["clip", "model", "candidate", "rounds", "fps", "least", "most", "of the bound"]
    body = []
    for row in rates:
        ratio = bound_ratio(row, rates) if row["stages_ms"] else None
        figures = [row["fps"], min(row["rounds_fps"]), max(row["rounds_fps"])]
        cells = [row["clip"], _who(row), row["candidate"], str(len(row["rounds_fps"]))]
        cells += [f"{value:.1f}" for value in figures]
        body.append([*cells, "" if ratio is None else f"{ratio:.3f}"])
    return markdown_table(head, body)


def _verdicts(rates: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Whether whole frames of 1080p keep the two bounds."""
    for row in rates:
        judged = row["stages_ms"] and row["candidate"] in ("no picture", "overlay")
        if not judged or (row["clip"], row.get("region")) != ("1080p", "native"):
            continue
        ratio, other = bound_ratio(row, rates), other_share(row)
        kept = other < MOST_OTHER and ratio is not None and ratio >= LEAST_RATIO
        yield (
            f"- {_who(row)}, 1080p, {row['candidate']}: {ratio or 0:.3f} of the bound, at least "
            f"{LEAST_RATIO}; everything but decode and model {100 * other:.1f} % of the time, "
            f"under {100 * MOST_OTHER:.0f} %: **{'pass' if kept else 'fail'}**."
        )


_PROCESSES = {
    "start": "From the command to the first scored frame: {first_frame_s:.2f} s; "
    "bare imports of OpenCV and ONNX Runtime: {imports_s:.2f} s.",
    "memory": "Most memory that was resident while scoring: {peak_mb:.0f} MB.",
    "cpu": "Watching at 30 fps: user {user_s:.2f} s and system {system_s:.2f} s of {wall_s:.2f} s "
    "on {cores} cores, a share of {share:.3f}.",
}
_STILL = (
    "A still scene of 1080p with the grain of a camera: {still_kept[processor_ms]:.1f} ms of "
    "processor time a frame; where the model is asked each time {still_every[processor_ms]:.1f} ms."
)


def _process_lines(rows: list[Row]) -> Iterator[str]:
    for part, text in _PROCESSES.items():
        for row in of_kind(rows, part, "part"):
            yield f"- {text.format_map(row)}"
            if "still_kept" in row:
                yield f"- {_STILL.format_map(row)}"


def stage_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Stacked bars: milliseconds per frame in each stage, a bar for each clip and variant."""
    figure, axes = one_axes("time per frame, ms", "", 1.5 + 0.5 * len(rows))
    left = [0.0] * len(rows)
    for colour, (name, stages) in zip(COLOURS, SEGMENTS.items(), strict=True):
        widths = [sum(row["stages_ms"].get(stage, 0.0) for stage in stages) for row in rows]
        axes.barh(range(len(rows)), widths, left=left, color=colour, label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, (row, end) in enumerate(zip(rows, left, strict=True)):
        axes.text(end, place, f"  {row['fps']:.1f} fps", va="center", fontsize=9)
    names = [f"{row['clip']}, {_who(row)}, {row['candidate']}" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=len(SEGMENTS), frameon=False, fontsize=9)
    return figure
