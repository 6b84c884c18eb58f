from __future__ import annotations

import math

import pytest

from edge.manifest import Calibration
from tests.training.evaluation.made import made_record
from training.evaluation.clips import (
    ALARMED,
    ALARMS,
    FOUND,
    UNDECIDED,
    UNTIL_FOUND,
    Clip,
    clip_figures,
    clips_of,
)
from training.evaluation.metrics import Estimate
from training.evaluation.record import Item
from training.evaluation.report import tables
from training.evaluation.summary import summarise, write_summary

FPS = 4.0
EVEN = Calibration()


def clip(label: int, *parts: tuple[float, float], source: str = "a") -> Clip:
    """A clip of parts, each so many seconds of one logit."""
    logits = [logit for seconds, logit in parts for _ in range(int(seconds * FPS))]
    return Clip(label, source, logits, FPS)


def value(figure: Estimate | float | None) -> float:
    """A number, or the share of one that has an interval."""
    assert figure is not None
    return figure if isinstance(figure, float) else figure[0]


def test_evidence_grows_with_the_seconds_watched() -> None:
    late = clip(1, (2, -3.0), (8, 3.0))
    assert [late.after(s) for s in (0.01, 2, 4, 99)] == [-3, -3, 0, pytest.approx(1.8)]
    assert math.isnan(Clip(0, "a", [math.nan], FPS).after(1))
    figures = clip_figures([late, clip(0, (10, -2.5))], EVEN, 0)
    assert figures["AUC after 1 s"] == 0.0
    assert figures["AUC after 8 s"] == 1.0


def test_a_clip_is_found_once_its_alert_comes() -> None:
    # The window of 2 s turns fake more than a second after the logits do, the alert 1 s later.
    fakes = [clip(1, (4, -3.0), (8, 3.0)), clip(1, (10, -3.0), source="b")]
    figures = clip_figures([*fakes, clip(0, (10, -3.0))], EVEN, 0)
    assert value(figures[FOUND]) == 0.5
    assert 5.5 < value(figures[UNTIL_FOUND]) < 7.5
    assert value(figures[ALARMED]) == 0


def test_false_alarms_are_events_an_hour() -> None:
    twice = clip(0, (20, -3.0), (5, 4.0), (30, -3.0), (5, 4.0), (20, -3.0))
    figures = clip_figures([twice, clip(0, (100, -3.0)), clip(1, (5, 3.0))], EVEN, 0)
    assert figures[ALARMS] == pytest.approx(2 * 3600 / 180, rel=0.01)
    assert value(figures[ALARMED]) == 0.5
    hovering = clip_figures([clip(0, (9, 0.1)), clip(1, (9, 0.1))], EVEN, 0)
    assert value(hovering[UNDECIDED]) == 1.0
    assert hovering[UNTIL_FOUND] is None


def test_one_label_alone_and_no_clip_at_all() -> None:
    figures = clip_figures([clip(0, (60, -3.0))], EVEN, 0)
    assert figures["AUC after 1 s"] is None
    assert figures[FOUND] is None
    assert figures[ALARMS] == 0
    assert clip_figures([Clip(0, "a", [math.nan] * 9, FPS)], EVEN, 0) == {}


def test_a_clip_without_evidence_at_first_or_at_all_costs_no_other() -> None:
    late = Clip(1, "a", [math.nan] * 8 + [3.0] * 32, FPS)
    others = [Clip(1, "b", [], FPS), Clip(0, "c", [math.nan] * 9, FPS), clip(0, (10, -2.5))]
    figures = clip_figures([late, clip(1, (10, 2.0), source="b"), *others], EVEN, 0)
    assert figures["AUC after 1 s"] == 1.0  # of the one that was seen by then
    assert figures["AUC after 8 s"] == 1.0 and value(figures[FOUND]) == 1.0
    assert clip_figures([late, *others], EVEN, 0)["AUC after 1 s"] is None
    assert not any(isinstance(x, float) and math.isnan(x) for x in figures.values())


def test_clips_that_a_model_does_not_judge_are_named_and_no_figure_is_nan() -> None:
    record = made_record(("a",), each=2)
    items = tuple(i.model_copy(update={"video": True, "frames": 12}) for i in record.items)
    logits: dict[str, list[float | None]] = {
        c: [x for x in found for _ in range(12)] for c, found in record.models[0].logits.items()
    }
    logits["untouched"][:12] = [None] * 12  # the first clip has none
    logits["untouched"][12:23] = [None] * 11  # the second has one, at its end
    model = record.models[0].model_copy(update={"logits": logits})
    record = record.model_copy(update={"items": items, "models": (model,), "fps": FPS})
    assert list(record.without_logit()) == [
        f"nowhere/{items[0].path}: a gave no logit (untouched)."
    ]
    assert "NaN" not in write_summary(summarise(record, 20))


def test_a_record_of_pictures_and_videos_has_figures_of_its_videos() -> None:
    record = made_record(("a",), each=4)
    assert not tables(summarise(record, 20))["clips"].rows
    items, frames = [], 10
    for item in record.items:
        items.append(Item(**{**item.model_dump(), "video": True, "frames": frames}))
    model = record.models[0]
    logits = {c: [x for x in found for _ in range(frames)] for c, found in model.logits.items()}
    model = model.model_copy(update={"logits": logits})
    videos = record.model_copy(update={"items": tuple(items), "models": (model,), "fps": FPS})
    clips = clips_of(videos, model, "untouched")
    assert [len(c.logits) for c in clips] == [frames] * len(record.items)
    rows = tables(summarise(videos, 20))["clips"].rows
    assert next(row[0] for row in rows) == "AUC after 0.5 s"
    assert {ALARMS, FOUND} < {row[0] for row in rows}
