"""What the sections that time models have in common: open all, interleave, keep what there is."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rounds import Candidate, ratio_of_rounds, run_rounds, timing
from benchmarks.section import Plan, Row, Tick

if TYPE_CHECKING:
    from benchmarks.runtimes import HW, Runner, Runtime, Subject

NAIVE, FOLDED = "ONNX Runtime, naive graph", "ONNX Runtime, folded graph"
PASSES, QUICK_PASSES = 5, 1
COMPILING_SHARE = 0.35
"""Of the section's time; once it is over nothing more is compiled."""


@dataclass(slots=True, eq=False)
class Timed:
    """One subject in one runtime."""

    runtime: str
    subject: Subject
    runner: Runner
    logit_difference: float | None
    candidate: Candidate


@dataclass(slots=True, eq=False)
class Group:
    """What is compared with each other: one size and one number of threads."""

    hw: HW
    threads: int
    timed: list[Timed] = field(default_factory=list)

    def rows(self, seed: int) -> Iterator[Row]:
        base = next((t.candidate for t in self.timed if t.runtime == NAIVE), None)
        for each in self.timed:
            if each.candidate.calls_s:
                yield self._row(each, base.rounds_s if base else {}, seed)

    def _row(self, each: Timed, base_s: dict[int, float], seed: int) -> Row:
        ratio, low, high = ratio_of_rounds(each.candidate.rounds_s, base_s, seed)
        device = each.runner.device_ms()
        return {
            "runtime": each.runtime,
            "model": each.subject.name,
            "size": list(self.hw),
            "threads": self.threads,
            **timing(each.candidate),
            "ratio_to_naive": ratio,
            "ratio_to_naive_low": low,
            "ratio_to_naive_high": high,
            "timed": "host, copy, kernel" if device else "host",
            "copy_p50_ms": device.get("copy"),
            "kernel_p50_ms": device.get("kernel"),
            "max_abs_logit_difference": each.logit_difference,
            "validation_auc": each.subject.auc,
            **({"chose": each.runner.chose} if each.runner.chose else {}),
        }


class RuntimesSection:
    """A section that times subjects in runtimes, in interleaved rounds; a subclass adds them."""

    name: str
    title: str

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._missing: list[Row] = []
        self._seed = 0
        self._compile_until = 0.0

    def add_all(self, plan: Plan, folder: Path, tick: Tick) -> None:
        """Open all candidates through `add`; the folder is gone after the section."""
        raise NotImplementedError

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Open all, then interleave; torch's number of threads is put back.
        Raises ModelError: a shipped model is absent.
        """
        import torch

        start, before = time.perf_counter(), torch.get_num_threads()
        budget_s = plan.budget_s[self.name]
        self._seed = plan.seed
        self._compile_until = 0.0 if plan.quick else start + COMPILING_SHARE * budget_s
        try:
            with tempfile.TemporaryDirectory() as folder:
                self.add_all(plan, Path(folder), tick)
                self._visit(plan, start + budget_s, tick)
        finally:
            torch.set_num_threads(before)

    def _visit(self, plan: Plan, deadline: float, tick: Tick) -> None:
        """Come back to every group in each pass, for an even share of the time that is left."""
        order = random.Random(plan.seed)
        visits = [g for g in self._groups if g.timed] * (QUICK_PASSES if plan.quick else PASSES)
        for index, group in enumerate(visits):
            now = time.perf_counter()
            until = now + (deadline - now) / (len(visits) - index)
            run_rounds([each.candidate for each in group.timed], until, tick, order)

    def rows(self) -> list[Row]:
        """What was measured, by group, and then what could not be."""
        return [row for group in self._groups for row in group.rows(self._seed)] + self._missing

    def add(
        self, subject: Subject, hw: HW, threads: int, runtimes: Sequence[Runtime], tick: Tick
    ) -> None:
        """Open a subject in runtimes; those that are absent become rows that say why."""
        import torch

        from benchmarks.runtimes import AbsentRuntime

        torch.set_num_threads(threads)
        group = self._group(hw, threads, subject)
        for runtime in runtimes:
            try:
                if runtime.slow_to_open and time.perf_counter() > self._compile_until:
                    raise AbsentRuntime(
                        f"{runtime.name}: left out, as compiling would have taken the time of the "
                        "measurements; a run that is not quick, or has more time, measures it."
                    )
                group.timed.append(_opened(runtime, subject, hw, threads))
            except AbsentRuntime as error:
                named: Row = {"runtime": runtime.name, "model": subject.name, "size": list(hw)}
                self._missing.append({**named, "threads": threads, "missing": str(error)})
            tick(f"{runtime.name} is ready")

    def _group(self, hw: HW, threads: int, subject: Subject) -> Group:
        for group in self._groups:
            same = all(each.subject is subject for each in group.timed)
            if same and (group.hw, group.threads) == (hw, threads):
                return group
        self._groups.append(Group(hw, threads))
        return self._groups[-1]


def _opened(runtime: Runtime, subject: Subject, hw: HW, threads: int) -> Timed:
    from export.compare import textured

    frames = textured((1, *hw))
    runner = runtime.open(subject, hw, threads)
    runner.prepare()
    logit = runner.run(frames)
    difference = None if runtime.as_shipped else abs(logit - subject.reference_logit(hw))
    candidate = Candidate(
        f"{hw[0]}×{hw[1]}, threads: {threads}", partial(runner.run, frames), 4, runner.prepare
    )
    return Timed(runtime.name, subject, runner, difference, candidate)
