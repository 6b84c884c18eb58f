"""How cameras fare, on the terminal: a table while they run, and one at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from edge.overlay.panel import score_text
from edge.overlay.style import STATE_COLOURS
from edge.types import Verdict

STREAMING = "streaming"
"""The signal of a camera that gives frames."""

_LEAST_NAME, _LEAST_SIGNAL = 8, 10
_NOTHING = "–"


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One camera at one moment.

    Attributes:
        name: fit to be shown.
        verdict: its last; None before the first.
        frames: scored so far.
        fps: frames scored per second lately; None while unknown.
        skipped: share of its frames that were never scored, 0..1; None while unknown.
        age_ms: of its newest scored frame, from capture to verdict, in milliseconds; None before
            the first.
        signal: `streaming`, or in a word what keeps frames away.
        retry_in_s: seconds until it is opened again; None unless that is waited for.
        reason: why no frames come, in a sentence.
        dropped: results that its recordings and other outputs lost.
    """

    name: str
    verdict: Verdict | None = None
    frames: int = 0
    fps: float | None = None
    skipped: float | None = None
    age_ms: float | None = None
    signal: str = STREAMING
    retry_in_s: float | None = None
    reason: str | None = None
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One camera over a whole run.

    Attributes:
        name: fit to be shown.
        frames: that came.
        scored: of them.
        skipped: share of them that was never scored, 0..1; None where none came.
        reconnects: how often frames came again after a failure.
        no_signal: share of the time without signal, 0..1; None where it is not known.
        ages_ms: from capture to verdict, of the newest scored frames, in milliseconds.
        verdict: its last; None where there was none.
    """

    name: str
    frames: int
    scored: int
    skipped: float | None
    reconnects: int
    no_signal: float | None
    ages_ms: Sequence[float]
    verdict: Verdict | None


class StatusTable:
    """Shows how cameras fare: one in a line, several in a table; gone at the end.

    It is drawn when it is updated and by no thread of its own. What is printed on the same console
    meanwhile, from any thread, appears above it.

    Args:
        console: where to; nothing is shown unless it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(
                console=console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        """It appears with the first rows."""
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, rows: Sequence[StatusRow]) -> None:
        """Show the cameras as they are now; about four times a second is enough for the eye."""
        if self._live is None or not rows:
            return
        self._live.update(_line(rows[0]) if len(rows) == 1 else _table(rows))
        if not self._live.is_started:
            self._live.start()
        self._live.refresh()


def summary_table(rows: Sequence[SummaryRow]) -> Table:
    """The table at the end of a run, a row for each camera."""
    table = _bare_table()
    table.add_column("camera", min_width=_LEAST_NAME)
    for heading in ("frames", "scored", "skipped", "re-\nconnects", "no\nsignal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("age_ms\np50", "age_ms\np99"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("last\nverdict", no_wrap=True)
    for row in rows:
        table.add_row(
            _cut(row.name),
            str(row.frames),
            str(row.scored),
            _share(row.skipped),
            str(row.reconnects),
            _share(row.no_signal),
            *_percentiles(row.ages_ms),
            _verdict(row.verdict),
        )
    return table


def _table(rows: Sequence[StatusRow]) -> Table:
    table = _bare_table()
    table.add_column("camera", min_width=_LEAST_NAME)
    table.add_column("verdict", no_wrap=True)
    for heading in ("fps", "skipped", "age_ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    lost = any(row.dropped for row in rows)
    if lost:
        table.add_column("dropped", justify="right", no_wrap=True)
    table.add_column("signal", min_width=_LEAST_SIGNAL)
    for row in rows:
        table.add_row(
            _cut(row.name),
            _verdict(row.verdict),
            _number(row.fps, 1),
            _share(row.skipped),
            _number(row.age_ms),
            *([str(row.dropped)] if lost else []),
            _cut(_signal(row)),
        )
    return table


def _line(row: StatusRow) -> Text:
    parts: list[str | Text] = [_plain(row.name), f"{row.frames} frames", _verdict(row.verdict)]
    if row.signal != STREAMING:
        parts.append(_signal(row))
    else:
        parts += [f"{_number(row.fps, 1)} fps", f"skipped {_share(row.skipped)}"]
        parts.append(f"age_ms {_number(row.age_ms)}")
    if row.dropped:
        parts.append(f"dropped {row.dropped}")
    line = Text("  ").join(Text(part) if isinstance(part, str) else part for part in parts)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _bare_table() -> Table:
    return Table(box=None, collapse_padding=True, pad_edge=False, header_style="dim")


def _signal(row: StatusRow) -> str:
    """What keeps frames away, for how long at least, and why."""
    said = row.signal if row.retry_in_s is None else f"{row.signal} {row.retry_in_s:.0f} s"
    if not row.reason or row.signal == STREAMING:
        return said
    # Messages begin with the name of what they are about, which stands at the left already.
    return f"{said}: {row.reason.removeprefix(f'{row.name}: ')}"


def _verdict(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text(_NOTHING)
    blue, green, red = STATE_COLOURS[verdict.state]
    said = " ".join(filter(None, (verdict.state, score_text(verdict.score))))
    return Text(said, style=f"rgb({red},{green},{blue})")


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
