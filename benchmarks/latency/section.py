"""The latency section: every runtime × model × size × number of threads, one frame at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.latency.interleaved import Interleaved, passes
from benchmarks.latency.runners import RUNTIMES, Runtime
from benchmarks.latency.subjects import HW, fresh_subject, preprocessing_of, shipped_subject
from benchmarks.section import Plan, Tick
from edge.weights import DEFAULT, find_model

SIZES: tuple[HW, ...] = ((256, 256), (1080, 1920), (224, 224), (720, 1280))
QUICK_SIZES: tuple[HW, ...] = SIZES[:2]
TEACHER_SIZES: tuple[HW, ...] = ((256, 256), (224, 224))
TEACHER = "ladeda9"


class LatencySection(Interleaved):
    """Times the shipped model at every size, and the teacher at the sizes it is made for.

    Args:
        runtimes: what to time; `RUNTIMES` by default.
    """

    name = "latency"
    title = "Latency of the model"

    def __init__(self, runtimes: Sequence[Runtime] = RUNTIMES) -> None:
        super().__init__()
        self._runtimes = runtimes

    def steps(self, plan: Plan) -> int:
        """One for each runtime that is opened, and one for each visit of a group."""
        sizes = len(QUICK_SIZES) if plan.quick else len(SIZES) + len(TEACHER_SIZES)
        return len(plan.threads) * sizes * (len(self._runtimes) + passes(plan))

    def open(self, plan: Plan, folder: Path, tick: Tick) -> None:
        """See `Interleaved.open`; most threads first, as those are what most people ask for."""
        tiny = shipped_subject(find_model(DEFAULT))
        for threads in reversed(plan.threads):
            for hw in QUICK_SIZES if plan.quick else SIZES:
                self.add(tiny, hw, threads, self._runtimes, tick)
        if plan.quick:
            return
        teacher = fresh_subject(TEACHER, preprocessing_of(tiny), plan.seed, folder)
        for threads in reversed(plan.threads):
            for hw in TEACHER_SIZES:
                self.add(teacher, hw, threads, self._runtimes, tick)
