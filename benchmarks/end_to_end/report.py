"""The section as text, tables and a plot, from its rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.end_to_end.names import (
    BARE,
    DECODE_ALONE,
    MODEL_ALONE,
    OVERLAY,
    VARIANTS,
)
from benchmarks.section import Rendered, Row
from benchmarks.stats import median
from benchmarks.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_RATIO = 0.85
"""End-to-end rate, as a part of what the slower of decoding and the model alone would allow."""

MOST_OTHER = 0.15
"""Part of the time that everything but decoding and the model may take."""

BOUND_CLIP, BOUND_REGION = "1080p", "native"
"""Where both are demanded."""

_UNENCODED = (BARE, OVERLAY)

_SEGMENTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "waiting for decode": (("capture",), "#0072B2"),
    "region": (("region",), "#CC79A7"),
    "model": (("model",), "#E69F00"),
    "verdict": (("verdict",), "#F0E442"),
    "overlay": (("overlay",), "#009E73"),
    "encode": (("encode",), "#D55E00"),
    "rest": (("rest", "drop"), "#999999"),
}
"""Shown name → stages and colour, of Okabe and Ito's palette for all kinds of colour vision."""

_FigureRow = Mapping[str, Any]
_Found = Mapping[str, _FigureRow]


def render(rows: list[Row]) -> Rendered:
    """Tables and the plot of stage shares; a part without rows is left out."""
    parts = [
        _rates(_of(rows, "rate")),
        _glass(_of(rows, "glass")),
        _starts(_of(rows, "start")),
        _memory(_of(rows, "memory")),
        _processor(_of(rows, "cpu")),
    ]
    markdown = "\n\n".join(part for part in parts if part)
    staged = [row for row in _of(rows, "rate") if row.get("stages_ms")]
    figures = {"end_to_end_stages": stage_figure(staged)} if staged else {}
    return Rendered(markdown + "\n" if markdown else "", figures)


def _of(rows: Iterable[Row], part: str) -> list[_FigureRow]:
    return [row for row in rows if row.get("part") == part]


def bound_ratios(
    decode_fps: Sequence[float], model_fps: Sequence[float], achieved_fps: Sequence[float]
) -> list[float]:
    """achieved / min(decode alone, model alone), for each round that all three finished."""
    rounds = zip(decode_fps, model_fps, achieved_fps, strict=False)
    return [achieved / min(decode, model) for decode, model, achieved in rounds]


def other_share(row: Mapping[str, Any]) -> float:
    """The part of a frame's time that is neither waiting for its decoding nor the model."""
    stages: Mapping[str, float] = row["stages_ms"]
    total = sum(stages.values())
    return (total - stages["capture"] - stages["model"]) / total


def _who(row: _FigureRow) -> str:
    """The model of a row and its region; empty where the row has no model, or names none."""
    return f"{row['model']} at {row['region']}" if row.get("model") else ""


def _by(row: _FigureRow) -> str:
    return f" by {_who(row)}" if _who(row) else ""


def _region(row: _FigureRow) -> str:
    return str(row.get("region", BOUND_REGION))


def _rates(rows: Sequence[_FigureRow]) -> str:
    if not rows:
        return ""
    clips = list(dict.fromkeys(row["clip"] for row in rows))
    blocks = [_what_clips(rows, clips), _rate_table(rows)]
    blocks += [_arithmetic(found) for found in _whole(rows, clips)]
    blocks.append(_share_table([row for row in rows if row["stages_ms"]]))
    return "\n\n".join(block for block in blocks if block)


def _whole(rows: Sequence[_FigureRow], clips: Sequence[str]) -> Iterator[_Found]:
    """Candidate → row of each clip and model of which both bounds are known."""
    for clip in clips:
        of_clip = [row for row in rows if row["clip"] == clip]
        decode = [row for row in of_clip if row["candidate"] == DECODE_ALONE]
        for who in dict.fromkeys(_who(row) for row in of_clip if row not in decode):
            found = {row["candidate"]: row for row in [*decode, *of_clip] if _who(row) in ("", who)}
            if found.keys() >= {DECODE_ALONE, MODEL_ALONE}:
                yield found


def _what_clips(rows: Sequence[_FigureRow], clips: Sequence[str]) -> str:
    firsts = [next(row for row in rows if row["clip"] == clip) for clip in clips]
    each = "; ".join(
        f"{row['clip']}: {row['frames']} frames at {row['clip_mbit_per_s']:.1f} Mbit/s"
        for row in firsts
    )
    models = any(_who(row) for row in rows)
    where = "each model at the region named with it" if models else f"at region `{BOUND_REGION}`"
    return (
        f"### Through the pipeline\n\nH.264 of moving texture with grain, made on the spot ({each})"
        f", {where}. Every round measures every candidate once; times run from before a "
        "clip is opened until all is closed. *Decode alone* takes the frames from the source and "
        "drops them; *model alone* runs the backend on decoded frames; each has all cores to "
        "itself, which in the pipeline they share."
    )


def _rate_table(rows: Sequence[_FigureRow]) -> str:
    models = any(_who(row) for row in rows)
    named = ("clip", "model", "candidate") if models else ("clip", "candidate")
    header = (*named, "rounds", "fps, median", "least", "most", "ms per frame")
    lines = [
        (
            *_named(row, models),
            str(len(row["rounds_fps"])),
            f"{row['fps']:.1f}",
            f"{min(row['rounds_fps']):.1f}",
            f"{max(row['rounds_fps']):.1f}",
            f"{row['frame_ms']:.2f}",
        )
        for row in rows
    ]
    return markdown_table(header, lines)


def _named(row: _FigureRow, models: bool) -> list[str]:
    return [row["clip"], *([_who(row)] if models else []), row["candidate"]]


def _arithmetic(found: _Found) -> str:
    decode, model = found[DECODE_ALONE], found[MODEL_ALONE]
    bound = min(decode["fps"], model["fps"])
    name = ", ".join(filter(None, (model["clip"], _who(model))))
    lines = [
        f"**{name}**: bound = min(decode alone {decode['fps']:.1f}, model alone "
        f"{model['fps']:.1f}) = {bound:.1f} fps. Ratios are medians over the rounds of the ratio "
        "within each."
    ]
    for variant in VARIANTS:
        row = found.get(variant)
        if row is not None:
            lines.append(f"- {variant}: {_variant_line(decode, model, row)}")
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _variant_line(decode: _FigureRow, model: _FigureRow, row: _FigureRow) -> str:
    ratios = bound_ratios(decode["rounds_fps"], model["rounds_fps"], row["rounds_fps"])
    if not ratios:
        return "no whole round"
    pairs = zip(row["rounds_fps"], decode["rounds_fps"], strict=False)
    to_decode = median([achieved / alone for achieved, alone in pairs])
    ratio, other = median(ratios), other_share(row)
    place = (row["clip"], _region(row))
    held = place == (BOUND_CLIP, BOUND_REGION) and row["candidate"] in _UNENCODED
    return (
        f"{row['fps']:.1f} fps, {ratio:.3f} of the bound ({min(ratios):.3f} to {max(ratios):.3f})"
        f"{_word(ratio >= LEAST_RATIO, f'at least {LEAST_RATIO}') if held else ''}; "
        f"{to_decode:.3f} of the bare decode loop; everything but decode and model "
        f"{_percent(other)} of the time"
        f"{_word(other < MOST_OTHER, f'under {_percent(MOST_OTHER)}') if held else ''}"
    )


def _word(holds: bool, bound: str) -> str:
    return f" (**{'pass' if holds else 'fail'}**, must be {bound})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _share_table(rows: Sequence[_FigureRow]) -> str:
    if not rows:
        return ""
    models = any(_who(row) for row in rows)
    header = ("clip", *(["model"] if models else []), "variant", *_SEGMENTS)
    lines = [
        (
            *_named(row, models),
            *(f"{ms:.2f} ms ({_percent(ms / sum(segments))})" if ms else "" for ms in segments),
        )
        for row in rows
        for segments in [_segments(row)]
    ]
    return (
        "Milliseconds per frame in each stage, and its share. Decoding runs ahead in a thread of "
        "its own: what shows is the time that the loop waited for it, opening included, and what "
        "it takes from the model's cores shows in the model. *Rest* is the loop itself and "
        "finishing the file.\n\n" + markdown_table(header, lines)
    )


def _segments(row: _FigureRow) -> list[float]:
    stages = row["stages_ms"]
    return [sum(stages.get(name, 0.0) for name in names) for names, _ in _SEGMENTS.values()]


def stage_figure(rows: Sequence[_FigureRow]) -> Figure:
    """Stacked bars: milliseconds per frame in each stage, a bar for each clip and variant."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.5 + 0.5 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(rows)
    for place, (name, (_, colour)) in enumerate(_SEGMENTS.items()):
        widths = [_segments(row)[place] for row in rows]
        axes.barh(range(len(rows)), widths, left=left, height=0.64, color=colour, label=name)
        _label_shares(axes, rows, widths, left)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, (row, end) in enumerate(zip(rows, left, strict=True)):
        axes.text(end, place, f"  {row['fps']:.1f} fps", va="center", fontsize=9)
    axes.set_xlim(0, 1.14 * max(left))
    axes.set_yticks(range(len(rows)), [", ".join(filter(None, _named(row, True))) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("time per frame, ms")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(_SEGMENTS), frameon=False, fontsize=9)
    return figure


_NARROWEST = 0.06
"""A part of the widest bar; a share is written only into a segment that it fits."""


def _label_shares(
    axes: Any, rows: Sequence[_FigureRow], widths: Sequence[float], left: Sequence[float]
) -> None:
    totals = [sum(_segments(row)) for row in rows]
    for place, (width, start) in enumerate(zip(widths, left, strict=True)):
        if width > _NARROWEST * max(totals):
            text = f"{100 * width / totals[place]:.0f} %"
            axes.text(start + width / 2, place, text, ha="center", va="center", fontsize=9)


def _glass(rows: Sequence[_FigureRow]) -> str:
    if not rows:
        return ""
    header = (
        "stream",
        "p50",
        "p90",
        "p99",
        "max",
        "model p50",
        "scored",
        "skipped",
        "first second",
    )
    lines = [_glass_line(row, len(header)) for row in rows]
    return (
        "### Glass to verdict\n\nFrom the drawing of a picture to the verdict on it, in ms, over a "
        "local RTSP stream of H.264 whose pictures carry the time in black and white blocks. "
        "Included: drawing, encoding without delay, RTSP over local TCP, what FFmpeg holds back "
        "while it parses and decodes, waiting for the model, the model and the verdict. Not "
        "included: a camera's exposure, a network, a screen. Sender and watcher share the cores. "
        "The percentiles begin after the first second, in which what was sent while the stream was "
        "probed comes in a burst; the oldest picture of that second is in the last column. The "
        "live source keeps the newest picture only: the others are skipped.\n\n"
        + markdown_table(header, lines)
    )


def _glass_line(row: _FigureRow, cells: int) -> Sequence[str]:
    if "missing" in row:
        return [row["clip"], row["missing"], *[""] * (cells - 2)]
    names = ("latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "latency_max_ms", "model_p50_ms")
    return [
        f"{row['clip']} at {row['stream_fps']:g} fps",
        *(f"{row[name]:.1f}" for name in names),
        str(row["scored_frames"]),
        str(row["skipped_frames"]),
        f"{row['settling_max_ms']:.0f}",
    ]


def _starts(rows: Sequence[_FigureRow]) -> str:
    return "\n\n".join(["### Cold start", *map(_start_line, rows)]) if rows else ""


def _start_line(row: _FigureRow) -> str:
    if "missing" in row:
        return str(row["missing"])
    return (
        f"From the command to the first scored frame of a {row['clip']} file{_by(row)}, the whole "
        "process: "
        f"{row['first_frame_s']:.2f} s (median of {len(row['rounds_first_frame_s'])} rounds, most "
        f'{row["first_frame_max_s"]:.2f} s). `python -c "import cv2, onnxruntime"` in the same '
        f"rounds: {row['imports_s']:.2f} s; ratio {row['ratio']:.2f}."
    )


def _memory(rows: Sequence[_FigureRow]) -> str:
    if not rows:
        return ""
    lines = [
        (row["clip"], row["missing"] if "missing" in row else f"{row['peak_mb']:.0f} MB")
        for row in rows
    ]
    return (
        "### Memory\n\nMost that was resident in a process of its own that scores a clip at region "
        f"`{_region(rows[0])}` (10⁶ bytes).\n\n" + markdown_table(("clip", "peak"), lines)
    )


def _processor(rows: Sequence[_FigureRow]) -> str:
    return "\n\n".join(["### Processor share", *map(_processor_line, rows)]) if rows else ""


def _processor_line(row: _FigureRow) -> str:
    if "missing" in row:
        return str(row["missing"])
    return (
        f"A {row['clip']} clip watched{_by(row)} at its own 30 fps, without a picture, in a "
        "process of its own, start-up left out: "
        f"(user {row['user_s']:.2f} s + system {row['system_s']:.2f} s) / "
        f"{row['wall_s']:.2f} s / {row['cores']} cores = {_percent(row['share'])}; "
        f"{row['fps']:.1f} fps were kept."
    )
