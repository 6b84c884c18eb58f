from __future__ import annotations

import io
import json

import pytest

from benchmarks.end_to_end.names import BARE, DECODE_ALONE, ENCODED, MODEL_ALONE, OVERLAY
from benchmarks.end_to_end.report import bound_ratios, other_share, render
from benchmarks.section import Row


def rate(candidate: str, fps: list[float], stages: dict[str, float], clip: str = "1080p") -> Row:
    return {
        "part": "rate",
        "clip": clip,
        "candidate": candidate,
        "frames": 60,
        "clip_mbit_per_s": 8.0,
        "rounds_fps": fps,
        "fps": sorted(fps)[len(fps) // 2],
        "frame_ms": 1e3 / fps[0],
        "stages_ms": stages,
    }


def rates() -> list[Row]:
    stages = {"capture": 1.0, "region": 0.5, "model": 30.0, "verdict": 0.5, "rest": 0.0}
    return [
        rate(DECODE_ALONE, [200.0, 180.0, 220.0], {}),
        rate(MODEL_ALONE, [30.0, 40.0, 20.0], {}),
        rate(BARE, [27.0, 38.0, 18.0], stages),
        rate(OVERLAY, [24.0, 30.0, 16.0], stages | {"overlay": 8.0}),
        rate(ENCODED, [15.0, 20.0, 10.0], stages | {"overlay": 8.0, "encode": 20.0}),
    ]


def others() -> list[Row]:
    return [
        {
            "part": "glass",
            "clip": "720p",
            "stream_fps": 30.0,
            "scored_frames": 90,
            "skipped_frames": 3,
            "latency_p50_ms": 91.2,
            "latency_p90_ms": 97.0,
            "latency_p99_ms": 120.0,
            "latency_max_ms": 143.5,
            "settling_max_ms": 1020.0,
            "model_p50_ms": 16.0,
        },
        {"part": "glass", "clip": "1080p", "missing": "The stream ended."},
        {
            "part": "start",
            "clip": "720p",
            "rounds_first_frame_s": [0.5],
            "first_frame_s": 0.5,
            "first_frame_max_s": 0.5,
            "imports_s": 0.25,
            "ratio": 2.0,
        },
        {"part": "memory", "clip": "720p", "peak_mb": 321.4},
        {
            "part": "cpu",
            "clip": "720p",
            "cores": 2,
            "user_s": 1.5,
            "system_s": 0.5,
            "wall_s": 4.0,
            "share": 0.25,
            "fps": 30.0,
        },
    ]


def test_the_bound_is_the_slower_of_the_two_in_each_round() -> None:
    assert bound_ratios([10.0, 50.0], [20.0, 25.0], [9.0, 20.0]) == [0.9, 0.8]
    assert bound_ratios([10.0, 50.0], [20.0], [9.0, 20.0]) == [0.9]


def test_other_is_what_is_neither_decoding_nor_the_model() -> None:
    row: Row = {"stages_ms": {"capture": 5.0, "model": 75.0, "overlay": 15.0, "rest": 5.0}}
    assert other_share(row) == pytest.approx(0.2)


def test_the_arithmetic_is_shown_with_words_for_what_must_hold() -> None:
    text = render(rates()).markdown
    assert "min(decode alone 200.0, model alone 30.0) = 30.0 fps" in text
    bare, overlay, encoded = (
        next(line for line in text.splitlines() if line.startswith(f"- {name}:"))
        for name in (BARE, OVERLAY, ENCODED)
    )
    assert "0.900 of the bound (0.900 to 0.950) (**pass**, must be at least 0.85)" in bare
    assert "3.1 % of the time (**pass**, must be under 15.0 %)" in bare
    assert "0.800 of the bound (0.750 to 0.800) (**fail**, must be at least 0.85)" in overlay
    assert "22.5 % of the time (**fail**, must be under 15.0 %)" in overlay
    assert "pass" not in encoded
    assert "fail" not in encoded


def test_each_model_is_shown_beside_decoding_and_the_bound_is_for_whole_frames() -> None:
    decode, *others = rates()
    named = [{"model": "one", "region": "center:512"}, {"model": "two", "region": "native"}]
    rows = [decode, *(row | names for names in named for row in others)]
    rendered = render(json.loads(json.dumps(rows)))
    first, second = rendered.markdown.split("**1080p, two at native**")
    assert "**1080p, one at center:512**: bound = min(decode alone 200.0" in first
    assert "must be" not in first and second.count("must be at least") == 2
    cells = [[cell.strip() for cell in line.split("|")] for line in first.splitlines()]
    assert ["1080p", "one at center:512", "no picture"] in [line[1:4] for line in cells]
    assert ["1080p", "", "decode alone"] in [line[1:4] for line in cells]
    labels = rendered.figures["end_to_end_stages"].axes[0].get_yticklabels()
    assert labels[0].get_text() == f"1080p, one at center:512, {BARE}"
    assert len(labels) == 6


def test_nothing_is_demanded_of_other_clips() -> None:
    rows = [row | {"clip": "720p"} for row in rates()]
    text = render(rows).markdown
    assert "of the bound" in text
    assert "must be" not in text


def test_every_part_is_rendered_from_json() -> None:
    rendered = render(json.loads(json.dumps(rates() + others())))
    for part in ("pipeline", "Glass to verdict", "Cold start", "Memory", "Processor share"):
        assert part in rendered.markdown
    assert "| 91.2 | 97.0 | 120.0 | 143.5 |" in " ".join(rendered.markdown.split())
    assert "The stream ended." in rendered.markdown
    assert "321 MB" in rendered.markdown
    assert "(user 1.50 s + system 0.50 s) / 4.00 s / 2 cores = 25.0 %" in rendered.markdown


def test_the_plot_has_a_bar_for_each_clip_and_variant() -> None:
    figure = render(rates()).figures["end_to_end_stages"]
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        f"1080p, {name}" for name in (BARE, OVERLAY, ENCODED)
    ]
    assert axes.get_xlabel() == "time per frame, ms"
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches]  # type: ignore[attr-defined]  # all of them are rectangles
    assert max(ends) == pytest.approx(60.0)
    figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize("kept", range(6))
def test_whatever_was_kept_of_an_interrupted_run_is_rendered(kept: int) -> None:
    rendered = render(rates()[:kept])
    assert bool(rendered.markdown) == bool(kept)
    assert bool(rendered.figures) == (kept > 2)
