"""What the sections that time models have in common: open all, interleave, keep what there is."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.latency.names import NAIVE
from benchmarks.latency.rounds import Group, open_all, run_passes
from benchmarks.latency.runners import Runtime
from benchmarks.latency.subjects import HW, Subject
from benchmarks.section import Plan, Row, Tick

PASSES, QUICK_PASSES = 5, 1
COMPILING_SHARE = 0.35
"""Of the section's time; once it is over nothing more is compiled."""


class Interleaved:
    """A section that times candidates in interleaved rounds; a subclass opens them.

    Attributes:
        name: its key in result files.
        title: its heading.
    """

    name: str
    title: str

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._measured: list[Row] = []
        self._missing: list[Row] = []
        self._seed = 0
        self._compile_until = 0.0

    def open(self, plan: Plan, folder: Path, tick: Tick) -> None:
        """Open all candidates through `add`.

        Args:
            plan: what to open.
            folder: for files; gone after the section.
            tick: told of each candidate.
        """
        raise NotImplementedError

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Open all, then interleave; torch's number of threads is put back.

        Raises:
            ModelError: the shipped model is absent or cannot be taken apart.
        """
        start, before = time.perf_counter(), torch.get_num_threads()
        self._begin(plan, start)
        try:
            with tempfile.TemporaryDirectory() as folder:
                self.open(plan, Path(folder), tick)
                deadline = start + plan.budget_s[self.name]
                run_passes(
                    self._groups,
                    deadline,
                    passes(plan),
                    plan.seed,
                    lambda group: tick(describe(group)),
                )
        finally:
            torch.set_num_threads(before)
            self._end()

    def rows(self) -> list[Row]:
        """What was measured, by group, and then what could not be."""
        measured = [row for group in self._groups for row in group.rows(self._seed)]
        return self._measured + measured + self._missing

    def add(
        self, subject: Subject, hw: HW, threads: int, runtimes: Sequence[Runtime], tick: Tick
    ) -> None:
        """Open a subject in runtimes; what has one size and number of threads is interleaved."""
        torch.set_num_threads(threads)
        self._missing += open_all(
            self._group(hw, threads, subject),
            subject,
            runtimes,
            lambda runtime: tick(f"{runtime.name} is ready"),
            lambda: time.perf_counter() < self._compile_until,
        )

    def _group(self, hw: HW, threads: int, subject: Subject) -> Group:
        """The group that a subject joins; the first subject of a group has its baseline."""
        for group in self._groups:
            if (group.hw, group.threads) == (hw, threads) and self.joins(group, subject):
                return group
        group = Group.of(hw, threads, NAIVE)
        self._groups.append(group)
        return group

    def joins(self, group: Group, subject: Subject) -> bool:
        """Whether a subject is compared with what a group of its size has already."""
        return all(candidate.subject is subject for candidate in group.candidates)

    def _begin(self, plan: Plan, start: float) -> None:
        self._groups, self._measured, self._missing = [], [], []
        self._seed = plan.seed
        share_s = COMPILING_SHARE * plan.budget_s[self.name]
        self._compile_until = 0.0 if plan.quick else start + share_s

    def _end(self) -> None:
        """Let go of the runtimes, whose memory and threads the next section would feel."""
        self._measured, self._groups = (
            [row for group in self._groups for row in group.rows(self._seed)],
            [],
        )


def passes(plan: Plan) -> int:
    """How often each group is visited."""
    return QUICK_PASSES if plan.quick else PASSES


def describe(group: Group) -> str:
    """A group as progress shows it."""
    height, width = group.hw
    return f"{height}×{width}, threads: {group.threads}, rounds: {group.rounds}"
