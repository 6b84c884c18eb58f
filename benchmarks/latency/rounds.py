"""Interleaved rounds: every candidate once in each, in a new order, so that drift favours none."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.latency.runners import AbsentRuntime, Runner, Runtime
from benchmarks.latency.subjects import HW, Subject
from benchmarks.section import Row
from benchmarks.stats import bootstrap_ratio, median, percentiles
from edge.types import Batch
from export.compare import textured

REST_S = 0.002
"""Before each sample, so that threads which still spin after the last one have gone to sleep."""

MOST_ROUNDS = 40
"""Of one group in one pass; more would only sharpen what is sharp."""


@dataclass(slots=True, eq=False)
class Candidate:
    """One model in one runtime, ready, and its samples.

    Attributes:
        logit_difference: |Δlogit| against torch on the timed frame.
        samples_ms: round → host time.
        device_ms: part → its samples; empty where there is only the host.
    """

    runtime: str
    subject: Subject
    runner: Runner
    logit_difference: float
    samples_ms: dict[int, float] = field(default_factory=dict)
    device_ms: dict[str, list[float]] = field(default_factory=dict)

    def sample(self, frames: Batch, index: int) -> None:
        """Run once and keep the time, whatever it is."""
        self.runner.prepare()
        time.sleep(REST_S)
        start = time.perf_counter()
        self.runner.run(frames)
        elapsed_ms = 1e3 * (time.perf_counter() - start)
        parts = self.runner.device_ms()
        self.samples_ms[index] = elapsed_ms
        for part, part_ms in parts.items():
            self.device_ms.setdefault(part, []).append(part_ms)


@dataclass(slots=True, eq=False)
class Group:
    """Candidates that are compared with each other: one size, one number of threads."""

    hw: HW
    threads: int
    baseline: str
    frames: Batch
    candidates: list[Candidate] = field(default_factory=list)
    rounds: int = 0
    round_s: float = 0.0
    """Of one round, first from the runs that opened it, then from the runs that warm it up."""

    @classmethod
    def of(cls, hw: HW, threads: int, baseline: str) -> Group:
        """An empty group; candidates are timed on one textured frame."""
        return cls(hw, threads, baseline, textured((1, *hw)))

    def open(self, runtime: Runtime, subject: Subject, reference_logit: float) -> Candidate:
        """Open a runtime, run it once and add it.

        Raises:
            AbsentRuntime: this machine does not have it.
        """
        runner = runtime.open(subject, self.hw, self.threads)
        runner.prepare()
        start = time.perf_counter()
        logit = runner.run(self.frames)
        self.round_s += REST_S + time.perf_counter() - start
        candidate = Candidate(runtime.name, subject, runner, abs(logit - reference_logit))
        self.candidates.append(candidate)
        return candidate

    def warm_up(self) -> None:
        """Run each once and keep no sample, as the caches are another group's; times a round."""
        start = time.perf_counter()
        for candidate in self.candidates:
            candidate.runner.prepare()
            candidate.runner.run(self.frames)
        self.round_s = time.perf_counter() - start + REST_S * len(self.candidates)

    def run(self, rounds: int, order: random.Random) -> None:
        """So many rounds, each in an order of its own."""
        for _ in range(rounds):
            for candidate in order.sample(self.candidates, len(self.candidates)):
                candidate.sample(self.frames, self.rounds)
            self.rounds += 1

    def rows(self, seed: int) -> list[Row]:
        """A row for each candidate that has samples."""
        base = next((c for c in self.candidates if c.runtime == self.baseline), None)
        samples = base.samples_ms if base else {}
        return [self._row(c, samples, seed) for c in self.candidates if c.samples_ms]

    def _row(self, candidate: Candidate, base_ms: dict[int, float], seed: int) -> Row:
        samples = list(candidate.samples_ms.values())
        ranks = percentiles(samples)
        ratio, low, high = ratio_of_rounds(candidate.samples_ms, base_ms, seed)
        device = {part: median(values) for part, values in candidate.device_ms.items()}
        return {
            "runtime": candidate.runtime,
            "model": candidate.subject.name,
            "size": list(self.hw),
            "threads": self.threads,
            **{f"{name}_ms": value for name, value in ranks.items()},
            "max_ms": max(samples),
            "samples": len(samples),
            "samples_ms": [round(value, 4) for value in samples],
            "ratio_to_naive": ratio,
            "ratio_to_naive_low": low,
            "ratio_to_naive_high": high,
            "timed": "host, copy, kernel" if device else "host",
            "copy_p50_ms": device.get("copy"),
            "kernel_p50_ms": device.get("kernel"),
            "max_abs_logit_difference": candidate.logit_difference,
            "validation_auc": candidate.subject.validation_auc,
        }


def ratio_of_rounds(
    own_ms: dict[int, float], base_ms: dict[int, float], seed: int
) -> tuple[float | None, float | None, float | None]:
    """Median over rounds of own time / baseline's time in the same round, with its 95 % interval.

    Args:
        own_ms: round → time.
        base_ms: the same of the baseline.
        seed: of the bootstrap.

    Returns:
        (ratio, low, high); three None where no round has both.
    """
    ratios = [own_ms[index] / base_ms[index] for index in own_ms if index in base_ms]
    return bootstrap_ratio(ratios, [1.0], seed) if ratios else (None, None, None)


def open_all(
    group: Group,
    subject: Subject,
    runtimes: Sequence[Runtime],
    opened: Callable[[Runtime], None],
    may_be_slow: Callable[[], bool],
) -> list[Row]:
    """Open a subject in every runtime; those that are absent come back as rows that say why.

    Args:
        group: takes the candidates.
        subject: the model.
        runtimes: in the order of the tables.
        opened: told after each.
        may_be_slow: asked before a runtime that is slow to open.
    """
    missing: list[Row] = []
    reference = subject.reference_logit(group.hw)
    for runtime in runtimes:
        try:
            if runtime.slow_to_open and not may_be_slow():
                raise AbsentRuntime(
                    "left out, as compiling would have taken the time of the measurements; "
                    "a run that is not quick, or has more time, measures it."
                )
            group.open(runtime, subject, reference)
        except AbsentRuntime as error:
            missing.append(_missing(runtime, subject, group, str(error)))
        opened(runtime)
    return missing


def _missing(runtime: Runtime, subject: Subject, group: Group, reason: str) -> Row:
    return {
        "runtime": runtime.name,
        "model": subject.name,
        "size": list(group.hw),
        "threads": group.threads,
        "missing": reason,
    }


def run_passes(
    groups: Sequence[Group],
    deadline: float,
    passes: int,
    seed: int,
    ran: Callable[[Group], None],
) -> None:
    """Visit every group in each pass, for an even share of the time that is left.

    Args:
        groups: with their candidates.
        deadline: on the clock of `time.perf_counter`; one round a pass is made even past it.
        passes: how often to come back to each group.
        seed: of the order in each round.
        ran: told after each visit.
    """
    order = random.Random(seed)
    # The cheap ones first, as what they leave of their share goes to the others.
    ready = sorted((group for group in groups if group.candidates), key=lambda g: g.round_s)
    visits = ready * passes
    for index, group in enumerate(visits):
        share_ends = time.perf_counter() + (deadline - time.perf_counter()) / (len(visits) - index)
        group.warm_up()
        fitting = int((share_ends - time.perf_counter()) / group.round_s)
        group.run(max(1, min(fitting, MOST_ROUNDS)), order)
        ran(group)
