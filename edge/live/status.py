"""The terminal's views: a table of live sources, a progress line of a recording."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from edge.errors import PatchwatchError
from edge.live.views import View
from edge.overlay.style import STATE_COLOURS
from edge.sinks.worker import WorkerHealth
from edge.sources.live import Health
from edge.summary import Summary
from edge.terminal import progress_bar
from edge.types import Picture, Result, Verdict
from edge.words import duration, percent

_STREAMING = "streaming"
_LEAST_NAME, _LEAST_SIGNAL = 8, 10
_NOTHING = "–"


@dataclass(slots=True)
class _Row:
    """What was last heard of a source."""

    name: str
    verdict: Verdict | None = None
    held_s: float | None = None
    scored: int = 0
    fps: float | None = None
    age_ms: float | None = None
    health: Health | None = None
    dropped: int = 0


class StatusView(View):
    """Shows live sources on the terminal: one in a line, several in a table; gone at the end.

    It is drawn by `tick`, and only on a terminal. What is printed on the same console meanwhile,
    from any thread, appears above it.
    """

    name = "status"

    def __init__(self, console: Console) -> None:
        self._rows: dict[str, _Row] = {}
        self._due_s = 0.0
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(
                console=console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def sources(self, names: Sequence[str]) -> None:
        self._rows = {name: self._rows.get(name, _Row(name)) for name in names}

    def result(self, name: str, result: Result, picture: Picture) -> None:
        if (row := self._rows.get(name)) is None:
            return
        row.verdict = result.verdict
        if picture.hud is not None:
            row.fps, row.held_s = picture.hud.fps, picture.hud.held_s
        row.scored += result.evidence is not None and result.error is None
        row.age_ms = row.age_ms if result.age_ms is None else result.age_ms

    def health(self, name: str, health: Health, sinks: Sequence[WorkerHealth]) -> None:
        if (row := self._rows.get(name)) is not None:
            row.health, row.dropped = health, sum(sink.dropped for sink in sinks)

    def tick(self) -> None:
        if self._live is None or not self._rows or time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + self.period_s
        rows = list(self._rows.values())
        self._live.update(_line(rows[0]) if len(rows) == 1 else _table(rows))
        if not self._live.is_started:
            self._live.start()
        self._live.refresh()


class ProgressView(View):
    """Shows frames done, the verdict and, where the length in frames is known, the time left."""

    name = "progress"

    def __init__(self, description: str, length: int | None) -> None:
        bar = (BarColumn(), TimeRemainingColumn()) if length else ()
        self._progress = progress_bar(
            TextColumn("{task.description}", markup=False),
            *bar,
            TextColumn("{task.completed:.0f} frames  {task.fields[verdict]}"),
        )
        self._task = self._progress.add_task(description, total=length, verdict="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def result(self, name: str, result: Result, picture: Picture) -> None:
        held_s = picture.hud.held_s if picture.hud is not None else None
        self._progress.update(
            self._task, advance=1, verdict=_verdict(result.verdict, held_s, "fake ").plain
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a source: why it was given up, if it was; of a live one its last health, and
    the share of the time without signal, 0..1."""

    name: str
    summary: Summary
    failed: PatchwatchError | None = None
    health: Health | None = None
    silent_share: float | None = None


def summary_table(outcomes: Sequence[Outcome]) -> Table:
    """The table at the end of a run, a row for each live source."""
    table = _bare_table()
    headings = ("frames", "scored", "skipped", "re-\nconnects", "no\nsignal")
    for heading in (*headings, "age_ms\np50", "age_ms\np99"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("last verdict\n(fake %)", no_wrap=True)
    for outcome in outcomes:
        summary, health = outcome.summary, outcome.health
        table.add_row(
            _cut(outcome.name),
            str(health.received if health else summary.frames),
            str(summary.scored),
            _share(_skipped(health)),
            str(health.reconnects if health else 0),
            _share(outcome.silent_share),
            *_percentiles(summary.ages_ms),
            _verdict(summary.last_verdict),
        )
    return table


def _table(rows: Sequence[_Row]) -> Table:
    table = _bare_table()
    table.add_column("verdict (fake %)", no_wrap=True)
    lost = any(row.dropped for row in rows)
    for heading in ("fps", "skipped", "age_ms", *(["dropped"] if lost else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("signal", min_width=_LEAST_SIGNAL)
    for row in rows:
        flows = row.health is not None and row.health.state == _STREAMING
        table.add_row(
            _cut(row.name),
            _current(row),
            _number(row.fps if flows else None, 1),
            _share(_skipped(row.health)),
            _number(row.age_ms),
            *([str(row.dropped)] if lost else []),
            _cut(_signal(row)),
        )
    return table


def _line(row: _Row) -> Text:
    parts: list[str | Text] = [
        _plain(row.name),
        f"{row.scored} frames",
        _current(row),
    ]
    if row.health is None or row.health.state != _STREAMING:
        parts.append(_signal(row))
    else:
        parts += [f"{_number(row.fps, 1)} fps", f"skipped {_share(_skipped(row.health))}"]
        parts.append(f"age_ms {_number(row.age_ms)}")
    if row.dropped:
        parts.append(f"dropped {row.dropped}")
    line = Text("  ").join(Text(part) if isinstance(part, str) else part for part in parts)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _bare_table() -> Table:
    table = Table(box=None, collapse_padding=True, pad_edge=False, header_style="dim")
    table.add_column("camera", min_width=_LEAST_NAME)
    return table


def _signal(row: _Row) -> str:
    """What keeps frames away, until when at least, and why."""
    health = row.health
    if health is None:
        return _NOTHING
    text = (
        health.state if health.retry_in_s is None else f"{health.state} {health.retry_in_s:.0f} s"
    )
    if not health.error or health.state == _STREAMING:
        return text
    # Messages begin with the name of what they are about, which stands at the left already.
    return f"{text}: {health.error.removeprefix(f'{row.name}: ')}"


def _skipped(health: Health | None) -> float | None:
    """Share of the frames that came and were not scored, 0..1; None before the first."""
    if health is None or not health.received:
        return None
    return (health.skipped + health.old + health.corrupt) / health.received


def _verdict(verdict: Verdict | None, held_s: float | None = None, caption: str = "") -> Text:
    """A verdict, its score, which a heading or the caption explains, and for how long it holds."""
    if verdict is None:
        return Text(_NOTHING)
    blue, green, red = STATE_COLOURS[verdict.state]
    score = percent(verdict.score)
    held = f"for {duration(held_s)}" if held_s is not None and held_s >= 1 else ""
    words = (verdict.state, score and f"{caption}{score}", held)
    return Text(" ".join(filter(None, words)), style=f"rgb({red},{green},{blue})")


def _current(row: _Row) -> Text:
    """The verdict that holds; of a source that has ended its last one, as such."""
    if row.health is None or row.health.state != "ended":
        return _verdict(row.verdict, row.held_s)
    return Text(f"ended, {_verdict(row.verdict).plain}", style="dim")


def _cut(text: str) -> Text:
    """Text that is cut off where its column ends, as a second line would make rows jump."""
    return Text(_plain(text), no_wrap=True, overflow="ellipsis")


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _share(share: float | None) -> str:
    return _NOTHING if share is None else f"{100 * share:.0f} %"


def _number(value: float | None, decimals: int = 0) -> str:
    return _NOTHING if value is None else f"{value:.{decimals}f}"


def _percentiles(ages_ms: Sequence[float]) -> list[str]:
    if not ages_ms:
        return [_NOTHING, _NOTHING]
    return [f"{value:.0f}" for value in np.percentile(list(ages_ms), (50, 99))]
