"""A report on a run: one HTML file with pictures, a timeline and the verdict, for offline reading.

Everything is inside the file. It is written when the run ends, also by Ctrl-C.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import datetime
from html import escape
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import Self

from edge.decision.recording import Judgement, RecordingJudge
from edge.decision.verdict import VerdictSettings
from edge.errors import SinkError
from edge.files import write_whole
from edge.manifest import Calibration, Manifest
from edge.overlay.heat import heats_of
from edge.overlay.painter import draw_evidence, scaled
from edge.overlay.style import STATE_COLOURS
from edge.provenance import RELATION
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.images import encode_image
from edge.sinks.paths import make_folder, placed
from edge.types import Picture, Result, State, Verdict
from edge.words import (
    MEANING,
    STATE_WORDS,
    counted,
    duration,
    fake_percent,
    percent,
    position,
    share_of_time,
)

if TYPE_CHECKING:
    from edge.config.parts import OutputConfig

_THUMBNAIL = 320
"""Longer side of a picture in the report, in pixels."""

_MOMENTS, _APART_S = 8, 2.0
"""How many moments of a recording are shown, those that score highest, and how far apart."""

_MOST_PICTURES = 500
"""Of a folder, pictures that are shown; the rest have a line each."""

_MOST_RESULTS = 100_000
"""Of a run of days the line keeps every other result, again and again."""

_WIDE, _HIGH = 1000, 160
"""Size of the timeline in its own units."""


class _Moment(NamedTuple):
    source: str
    time_s: float | None
    verdict: Verdict
    error: str | None
    jpeg: bytes
    declared: str = ""


class ReportSink(ConfiguredSink):
    """Collects what the report shows, in bounded memory, and writes it at the end."""

    name = "report"

    def __init__(self, path: Path, context: SinkContext) -> None:
        self._path = path
        self._name, self._model = context.name, context.model
        self._pictures: list[_Moment] = []
        self._moments: dict[int, _Moment] = {}
        self._line: list[tuple[float, float | None, State]] = []
        self._step_s = 0.0
        self._declared = ""

    @classmethod
    def from_options(cls, options: OutputConfig, context: SinkContext) -> Self:
        """From the key `output.report`."""
        return cls(Path(placed(str(options.report), context.name)), context)

    def check(self) -> None:
        """See that it is not a folder, and make the folder that it goes to."""
        if self._path.is_dir():
            raise SinkError(f"{self._path} is a folder. Give the name of a file, out.html.")
        make_folder(self._path.parent, "the report")

    def __exit__(self, *_: object) -> None:
        """Write the report."""
        write_whole(self._path, "".join(self._page()))

    def write(self, result: Result, picture: Picture) -> None:
        """Take note of a result."""
        frame, score = result.frame, result.verdict.score
        self._model = result.model or self._model
        declared = result.provenance.headline if result.provenance is not None else ""
        self._declared = declared or self._declared
        if frame.pts is None and result.age_ms is None and result.verdict.state != "no_signal":
            jpeg = _thumbnail(result, picture) if len(self._pictures) < _MOST_PICTURES else b""
            moment = _Moment(frame.source, None, result.verdict, result.error, jpeg, declared)
            self._pictures.append(moment)
            return
        if not self._line or not 0 <= frame.time_s - self._line[-1][0] < self._step_s:
            self._line.append((frame.time_s, score, result.verdict.state))
        if len(self._line) > _MOST_RESULTS:
            self._line = self._line[::2]
            self._step_s = (self._line[-1][0] - self._line[0][0]) / len(self._line)
        place = int(frame.time_s / _APART_S)
        known = self._moments.get(place)
        least = min((m.verdict.score or 0 for m in self._moments.values()), default=0.0)
        full = len(self._moments) >= _MOMENTS
        if score is None or (known and score <= (known.verdict.score or 0)):
            return
        if full and not known and score <= least:
            return
        moment = _Moment(
            frame.source, frame.time_s, result.verdict, None, _thumbnail(result, picture)
        )
        self._moments[place] = moment
        if len(self._moments) > _MOMENTS:
            lowest = min(self._moments, key=lambda each: self._moments[each].verdict.score or 0)
            del self._moments[lowest]

    def _page(self) -> Iterator[str]:
        recording = RecordingJudge(VerdictSettings())
        for time_s, score, state in self._line:
            recording.add(time_s, Verdict(state, score))
        judged = recording.judge() if self._line else None
        name = escape(self._name)
        yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}: Patchwatch</title>"
        yield f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style><main>"
        yield f"<header><h1>{name}</h1>{self._headline(judged)}</header>"
        if self._line and self._declared:
            yield f"<p>The file {escape(self._declared)}</p>"
        if self._declared:
            yield f"<p class=note>{escape(RELATION)}</p>"
        if self._line:
            yield self._timeline()
        if judged is not None and judged.stretches:
            yield "<h2>Judged fake</h2><ul>"
            for begin_s, end_s, score in judged.stretches:
                times = f"{self._at(begin_s)} to {self._at(end_s)}"
                yield f"<li>{times}, at most {escape(fake_percent(score))}</li>"
            yield "</ul>"
        if self._moments:
            yield "<h2>Moments that score highest</h2><div class=grid>"
            moments = sorted(self._moments.values(), key=lambda m: m.time_s or 0)
            yield from (self._card(moment) for moment in moments)
            yield "</div>"
        if self._pictures:
            yield "<h2>Pictures, the highest score first</h2><div class=grid>"
            ranked = sorted(self._pictures, key=lambda m: -(m.verdict.score or 0))
            yield from (self._card(moment) for moment in ranked)
            yield "</div>"
        yield from _model_lines(self._model)
        made = f"{datetime.now():%Y-%m-%d %H:%M}, Patchwatch {metadata.version('patchwatch')}"
        yield f"<footer>Made {made}. Scores are estimates, and no proof.</footer></main>"

    def _headline(self, judged: Judgement | None) -> str:
        if self._pictures:
            states = [moment.verdict.state for moment in self._pictures]
            parts = [
                f"{_badge(state)} {states.count(state)}" for state in STATE_WORDS if state in states
            ]
            count = counted(len(states), "picture")
            return f"<p class=lead>{count}: {' &nbsp; '.join(parts)}</p>"
        if judged is None:
            return f"<p class=lead>{_badge('uncertain')} nothing could be judged</p>"
        share = f"{share_of_time(judged.fake_share)}, {duration(judged.seconds)}"
        worst = f"highest {fake_percent(judged.worst.score)} at {self._at(judged.worst.end_s)}"
        words = f"{MEANING[judged.verdict]}; {share}; {worst}"
        return f"<p class=lead>{_badge(judged.verdict)} {escape(words)}</p>"

    def _at(self, time_s: float) -> str:
        """A time of the line: a position in a recording, or a time of day."""
        if self._line and self._line[0][0] > 1e8:
            return f"{datetime.fromtimestamp(time_s):%H:%M:%S}"
        return position(time_s)

    def _timeline(self) -> str:
        first, last = self._line[0][0], self._line[-1][0]
        span = max(last - first, 1e-6)
        columns: dict[int, tuple[float, float | None, State]] = {}
        for time_s, score, state in self._line:  # the highest of each column
            column = int((time_s - first) / span * (_WIDE - 1))
            known = columns.get(column)
            if known is None or (score or -1) > (known[1] or -1):
                columns[column] = time_s, score, state
        threshold = (self._model.calibration if self._model else Calibration()).threshold
        low, height = percent(threshold), _HIGH * (1 - threshold)
        marks, points = [], []
        order = sorted(columns)
        for column, after in zip(order, [*order[1:], _WIDE], strict=True):
            time_s, score, state = columns[column]
            said = f"{self._at(time_s)}: {STATE_WORDS[state]} {escape(fake_percent(score))}"
            marks.append(
                f"<rect x={column} y=0 width={after - column} height={_HIGH} class={state}>"
                f"<title>{said}</title></rect>"
            )
            if score is not None:
                points.append(f"{column},{_HIGH * (1 - score):.1f}")
        return (
            "<h2>Score over time</h2><figure class=line><div class=axis><span>100 %</span>"
            f"<span>0 %</span></div><svg viewBox='0 0 {_WIDE} {_HIGH}' preserveAspectRatio=none>"
            f"{''.join(marks)}<line x1=0 x2={_WIDE} y1={height:.1f} y2={height:.1f} />"
            f"<polyline points='{' '.join(points)}' /></svg><figcaption><span>{self._at(first)}"
            f"</span><span>how likely it is fake; dashed: the threshold, {low}; behind it the "
            f"verdict at each time</span><span>{self._at(last)}</span></figcaption></figure>"
        )

    def _card(self, moment: _Moment) -> str:
        shown = ""
        if moment.jpeg:
            data = base64.b64encode(moment.jpeg).decode()
            shown = f"<img alt='' src='data:image/jpeg;base64,{data}'>"
        where = Path(moment.source).name if moment.time_s is None else self._at(moment.time_s)
        said = escape(moment.error or fake_percent(moment.verdict.score))
        title = escape(moment.source, quote=True)
        declared = f"<br>{escape(moment.declared)}" if moment.declared else ""
        return (
            f"<figure title='{title}'>{shown}<figcaption>{_badge(moment.verdict.state)} {said}"
            f"<br>{escape(where)}{declared}</figcaption></figure>"
        )


def _thumbnail(result: Result, picture: Picture) -> bytes:
    """A small picture with its heat map and no words, which would be too small to read."""
    height, width = result.frame.size_hw
    scale = min(1.0, _THUMBNAIL / max(height, width))
    small = scaled(result, max(1, round(height * scale)), max(1, round(width * scale)))
    image = small.frame.image.copy()
    draw_evidence(image, small, heats_of(small, picture.hud) if picture.hud is not None else ())
    return encode_image(image, ".jpg")


def _badge(state: State) -> str:
    return f"<b class={state}>{STATE_WORDS[state]}</b>"


def _model_lines(model: Manifest | None) -> Iterator[str]:
    if model is None:
        return
    yield "<h2>The model</h2><dl>"
    rows = [
        (
            "name",
            f"{model.name} ({model.parameters:,} parameters)" if model.parameters else model.name,
        ),
        ("looks at", model.region),
        ("trained on", re.sub(r" ?\([^()]*\)", "", model.training.data)),
        ("licence", model.licence),
    ]
    for figure in model.validation:
        if figure.degradation == "untouched":
            rows.append((figure.metric, f"{figure.value:.2f}"))
    yield from (f"<dt>{escape(key)}<dd>{escape(value)}" for key, value in rows)
    yield "</dl>"


def _css(state: State) -> str:
    blue, green, red = STATE_COLOURS[state]
    colour = f"rgb({red},{green},{blue})"
    return f"b.{state}{{background:{colour}}}rect.{state}{{fill:{colour};fill-opacity:.22}}"


_STYLE = (
    "*{box-sizing:border-box}body{margin:0;background:#f4f5f6;color:#14171a;"
    "font:16px/1.5 system-ui,sans-serif;-webkit-print-color-adjust:exact;"
    "print-color-adjust:exact}main{max-width:1080px;margin:auto;padding:24px}"
    "h1{font-size:26px;margin:0;overflow-wrap:anywhere}h2{font-size:18px;margin:28px 0 8px}"
    ".lead{font-size:19px;margin:8px 0}b{color:#0a0e14;padding:2px 8px;border-radius:4px}"
    ".note{font-size:13px;color:#5a6169}"
    "figure{margin:0;background:#fff;border:1px solid #d9dce0;border-radius:6px;overflow:hidden;"
    "break-inside:avoid}figure img{display:block;width:100%}"
    ".grid{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(200px,1fr))}"
    "figcaption{padding:8px 10px;font-size:14px;overflow-wrap:anywhere}"
    ".line{display:grid;grid-template-columns:auto 1fr;padding:12px}.line svg{width:100%;"
    "height:180px;border:1px solid #d9dce0}.axis{display:flex;flex-direction:column;"
    "justify-content:space-between;padding-right:8px;font-size:13px;text-align:right}"
    ".line figcaption{grid-column:2;display:flex;justify-content:space-between;gap:12px;"
    "padding:4px 0}polyline{fill:none;stroke:#14171a;stroke-width:2;"
    "vector-effect:non-scaling-stroke}line{stroke:#14171a;stroke-dasharray:6 5;"
    "vector-effect:non-scaling-stroke}dl{display:grid;grid-template-columns:max-content 1fr;"
    "gap:4px 16px;font-size:14px}dt{color:#5a6169;max-width:300px}dd{margin:0}"
    "footer{margin-top:28px;font-size:13px;color:#5a6169}"
    "@media print{body{background:#fff}main{padding:0}.grid{grid-template-columns:repeat(4,1fr)}}"
    + "".join(_css(state) for state in STATE_WORDS)
)
