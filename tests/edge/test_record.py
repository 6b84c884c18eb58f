from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edge.record import to_record
from edge.types import Evidence, Frame, Region, Result, Verdict

BLACK = np.zeros((4, 6, 3), np.uint8)


def frame(pts: float | None = None) -> Frame:
    return Frame(BLACK, 7, 1_700_000_000.123456, "clip.mp4", pts)


def region(left: int, logit: float) -> Region:
    return Region((left, 0, left + 2, 4), (4, 2), Evidence(logit))


def test_names_of_a_usual_result_in_their_order() -> None:
    logit: float = np.float32(1.25)  # type: ignore[assignment]  # what a careless backend returns
    result = Result(
        frame(), Evidence(logit), Verdict("fake", 0.75), {"capture": 0.12345, "infer": 3.0}
    )
    usual = {
        "source": "clip.mp4",
        "index": 7,
        "time": 1_700_000_000.123,
        "logit": 1.25,
        "score": 0.75,
        "verdict": "fake",
        "latency_ms": {"capture": 0.123, "infer": 3.0},
    }
    assert json.dumps(to_record(result), allow_nan=False) == json.dumps(usual)
    record = to_record(Result(frame(pts=0.0), None, Verdict("uncertain"), error="too small"))
    assert record == usual | {
        "pts": 0.0,
        "error": "too small",
        "logit": None,
        "score": None,
        "verdict": "uncertain",
        "latency_ms": {},
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null(bad: float) -> None:
    result = Result(
        frame(pts=bad),
        Evidence(bad),
        Verdict("uncertain", bad),
        {"infer": bad},
        (region(0, bad), region(2, 1.0)),
    )
    record = json.loads(json.dumps(to_record(result), allow_nan=False))
    assert record["logit"] is None
    assert record["score"] is None
    assert record["latency_ms"] == {"infer": None}
    assert [part["logit"] for part in record["regions"]] == [None, 1.0]
    assert "pts" not in record


def test_regions_are_listed_only_where_there_are_several() -> None:
    box = tuple(np.array([0, 0, 2, 4]))  # numpy's integers are no JSON
    parts = Region(box, (4, 2), Evidence(1.0)), region(2, -3.0)
    one, two = (
        to_record(Result(frame(), Evidence(1.0), Verdict("fake", 0.9), regions=parts[:count]))
        for count in (1, 2)
    )
    assert "regions" not in one
    assert json.loads(json.dumps(two))["regions"] == [
        {"xyxy": [0, 0, 2, 4], "logit": 1.0},
        {"xyxy": [2, 0, 4, 4], "logit": -3.0},
    ]


def test_faces_are_listed_with_all_that_is_known_of_each() -> None:
    judged = Region((1, 0, 3, 4), (224, 224), Evidence(2.0), Verdict("fake", 0.9), 7)
    unknown = Region((0, 0, 2, 4), (224, 224), Evidence(math.nan), Verdict("uncertain"), 8)
    result = Result(
        frame(), Evidence(2.0), Verdict("fake", 0.9), regions=(judged, unknown), faces=2
    )
    record = json.loads(json.dumps(to_record(result), allow_nan=False))
    assert record["faces"] == [
        {"xyxy": [1, 0, 3, 4], "track": 7, "logit": 2.0, "score": 0.9, "verdict": "fake"},
        {"xyxy": [0, 0, 2, 4], "track": 8, "logit": None, "score": None, "verdict": "uncertain"},
    ]
    assert "regions" not in record


def test_no_face_is_an_empty_list_only_where_they_were_looked_for() -> None:
    record = to_record(Result(frame(), None, Verdict("uncertain"), faces=0))
    assert record["faces"] == [] and record["score"] is None and "error" not in record
    assert "faces" not in to_record(Result(frame(), None, Verdict("no_signal")))
