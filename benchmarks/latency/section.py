"""The latency section: every runtime × model × size × number of threads, one frame at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.compute.names import TEACHER
from benchmarks.latency.interleaved import Interleaved, passes
from benchmarks.latency.runners import RUNTIMES, Runtime
from benchmarks.latency.subjects import (
    HW,
    Subject,
    fresh_subject,
    preprocessing_of,
    shipped_subject,
)
from benchmarks.section import Plan, Tick
from edge.weights import DEFAULT, TINY, find_model

SIZES: tuple[HW, ...] = ((256, 256), (1080, 1920), (224, 224), (720, 1280))
QUICK_SIZES: tuple[HW, ...] = SIZES[:2]
TEACHER_SIZES: tuple[HW, ...] = ((256, 256), (224, 224))


class LatencySection(Interleaved):
    """Times the smallest model at every size, the default and the teacher at those they are for.

    Args:
        runtimes: what to time; `RUNTIMES` by default.
    """

    name = "latency"
    title = "Latency of the model"

    def __init__(self, runtimes: Sequence[Runtime] = RUNTIMES) -> None:
        super().__init__()
        self._runtimes = runtimes
        # Of many layers; compiling them would take the time of the measurements.
        self._quick_to_open = [runtime for runtime in runtimes if not runtime.slow_to_open]

    def steps(self, plan: Plan) -> int:
        """One for each runtime that is opened, and one for each visit of a group."""
        sizes = len(QUICK_SIZES) if plan.quick else len(SIZES) + len(TEACHER_SIZES)
        everywhere = len(plan.threads) * sizes * (len(self._runtimes) + passes(plan))
        of_default = len(self._quick_to_open) + passes(plan)
        return everywhere + len(_threads_of_default(plan)) * of_default

    def open(self, plan: Plan, folder: Path, tick: Tick) -> None:
        """See `Interleaved.open`; most threads first, as those are what most people ask for."""
        tiny, default = (shipped_subject(find_model(name)) for name in (TINY, DEFAULT))
        for threads in reversed(plan.threads):
            for hw in QUICK_SIZES if plan.quick else SIZES:
                self.add(tiny, hw, threads, self._runtimes, tick)
        for threads in _threads_of_default(plan):
            self.add(default, default_hw(default), threads, self._quick_to_open, tick)
        if plan.quick:
            return
        teacher = fresh_subject(TEACHER, preprocessing_of(tiny), plan.seed, folder)
        for threads in reversed(plan.threads):
            for hw in TEACHER_SIZES:
                self.add(teacher, hw, threads, self._runtimes, tick)


def _threads_of_default(plan: Plan) -> tuple[int, ...]:
    """From most to fewest; a quick run has time for the most alone."""
    return plan.threads[-1:] if plan.quick else plan.threads[::-1]


def default_hw(default: Subject) -> HW:
    """The size that the default model is timed at: what its region gives it of a large frame."""
    return default.region_hw or SIZES[0]
