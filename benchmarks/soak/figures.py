"""What a soak found: its figures, and which of its bounds they keep."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.results_file import RESULTS, Conditions, describe_machine
from benchmarks.section import Row
from benchmarks.soak.growth import warm_up_s
from benchmarks.soak.run import Seen, Soak
from benchmarks.stats import median, percentiles
from edge.schema import code_commit
from training.evaluation.record import now

THEME = "soak"
SCHEMA = 1

INFERENCES = 2.0
"""How old a scored frame may be, p99, in inference times."""

GROWTH_MB_PER_H = 5.0
GROWTH_WATCHED_S = 240.0
"""A slope over less time says nothing: memory comes in steps."""

ALIVE_S = 5.0
"""A camera is alive at the end if it was scored so lately, in seconds."""

SHARES_APART = 0.1
"""How far the cameras' shares of skipped frames may lie apart, and of scored ones as a ratio."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Something that a soak must keep.

    Attributes:
        name: what it is about.
        found: what was measured; None where that was not possible.
        limit: what it may be at most.
        unit: of both.
    """

    name: str
    found: float | None
    limit: float
    unit: str

    @property
    def kept(self) -> bool:
        """Whether it was kept; nothing was, where nothing was measured."""
        return self.found is not None and self.found <= self.limit


def ages(values: Sequence[float]) -> dict[str, float] | None:
    """Percentiles and the largest of ages in ms; None where there are none."""
    if not len(values):
        return None
    found = percentiles(values, (50, 90, 99)) | {"max": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


def inference_ms(soak: Soak) -> float | None:
    """The median time that the model took for the frames of one turn; None if it never ran."""
    values = [ms for seen in soak.seen for ms in seen.camera.summary.latencies_ms.get("model", ())]
    return median(values) if values else None


def all_ages(soak: Soak) -> list[float]:
    """True ages of the scored frames of all cameras, in ms."""
    return [age for seen in soak.seen for age in seen.watch.ages_ms]


def skip_share(seen: Seen) -> float | None:
    """Share of a camera's frames that were not scored; None before the first."""
    if seen.health is None or not seen.health.received:
        return None
    return max(0.0, 1 - seen.watch.scored / seen.health.received)


def bounds(soak: Soak) -> list[Bound]:
    """All that this soak must keep."""
    return [*_age_bound(soak), *_growth_bounds(soak), *_camera_bounds(soak)]


def _age_bound(soak: Soak) -> Iterator[Bound]:
    inference, found = inference_ms(soak), ages(all_ages(soak))
    # Several cameras wait for one another, so that their frames are older by the others' turns.
    if len(soak.seen) == 1:
        limit = INFERENCES * (inference or 0.0)
        yield Bound("age p99", found["p99"] if found else None, round(limit, 2), "ms")


def _growth_bounds(soak: Soak) -> Iterator[Bound]:
    begin, end = soak.begin, soak.end
    if begin is None or end is None:
        return
    yield Bound("open files at the end", end.files, begin.files, "")
    yield Bound("threads at the end", end.threads, begin.threads, "")
    warm_s = warm_up_s(soak.plan.seconds)
    if soak.elapsed_s - warm_s >= GROWTH_WATCHED_S:
        slope = soak.growth.slope_mb_per_h(warm_s)
        found = None if slope is None else round(slope, 2)
        yield Bound("memory growth", found, GROWTH_MB_PER_H, "MB/h")


def _camera_bounds(soak: Soak) -> Iterator[Bound]:
    silent_s = [s for seen in soak.seen if (s := _silent_s(soak, seen)) is not None]
    longest = max(silent_s) if silent_s and len(silent_s) == len(soak.seen) else None
    yield Bound("longest since a camera was scored, at the end", longest, ALIVE_S, "s")
    shares = [share for seen in soak.seen if (share := skip_share(seen)) is not None]
    if len(soak.seen) < 2 or soak.plan.faults:  # a camera that was away longer is compared by luck
        return
    complete = len(shares) == len(soak.seen)
    apart = round(max(shares) - min(shares), 4) if complete else None
    yield Bound("skipped shares apart", apart, SHARES_APART, "")
    scored = [1 - share for share in shares]
    ratio = round(max(scored) / min(scored) - 1, 4) if complete and min(scored) > 0 else None
    yield Bound("scored shares apart, as a ratio", ratio, SHARES_APART, "")


def _silent_s(soak: Soak, seen: Seen) -> float | None:
    if seen.watch.last_s is None:
        return None
    return round(max(0.0, soak.ended_s - seen.watch.last_s), 2)


def result(soak: Soak, conditions: Conditions) -> dict[str, object]:
    """The content of a result file, plain JSON."""
    plan, size = soak.plan, soak.plan.size
    inference, found = inference_ms(soak), ages(all_ages(soak))
    warm_s = warm_up_s(plan.seconds)
    return {
        "schema": SCHEMA,
        "theme": THEME,
        "time": now(),
        "commit": code_commit(),
        "machine": describe_machine(),
        "config": asdict(plan) | {"size": f"{size.width}x{size.height}"},
        "conditions": conditions.model_dump(),
        "interrupted": soak.interrupted,
        "elapsed_s": round(soak.elapsed_s, 1),
        "batch": soak.batch,
        "inference_ms": inference,
        "age_ms": found,
        "age_p99_inferences": round(found["p99"] / inference, 3) if found and inference else None,
        "cameras": [_row(soak, seen) for seen in soak.seen],
        "faults": dict(soak.faults),
        "memory": {
            "warm_up_s": round(warm_s, 1),
            "growth_mb_per_h": soak.growth.slope_mb_per_h(warm_s),
            "begin": asdict(soak.begin) if soak.begin else None,
            "end": asdict(soak.end) if soak.end else None,
            "rss_mb": soak.growth.samples_mb(),
        },
        "bounds": [asdict(bound) | {"kept": bound.kept} for bound in bounds(soak)],
    }


def _row(soak: Soak, seen: Seen) -> Row:
    health, watch = seen.health, seen.watch
    share = skip_share(seen)
    return {
        "name": seen.camera.name,
        "received": health.received if health else 0,
        "scored": watch.scored,
        "skip_share": share and round(share, 4),
        "old": health.old if health else 0,
        "unreadable": watch.unreadable,
        "no_signal": watch.silent,
        "reconnects": health.reconnects if health else 0,
        "opens": health.opens if health else 0,
        "age_ms": ages(watch.ages_ms),
        "told_age_ms": ages(watch.told_ms),
        "silent_at_end_s": _silent_s(soak, seen),
    }


def usual_path(content: Mapping[str, object], folder: Path = RESULTS) -> Path:
    """Where a result goes that nobody named a file for: `soak_<machine>_<date>_<commit>.json`."""
    date = str(content["time"])[:10].replace("-", "")
    machine = f"{platform.machine()}-{os.cpu_count()}core"
    commit, *edited = str(content["commit"] or "unknown").split("-")
    return folder / f"{THEME}_{machine}_{date}_{'-'.join([commit[:7], *edited])}.json"
