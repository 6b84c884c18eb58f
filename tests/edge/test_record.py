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
    result = Result(
        frame(), Evidence(1.25), Verdict("fake", 0.75), {"capture": 0.12345, "infer": 3.0}
    )
    assert list(to_record(result).items()) == [
        ("source", "clip.mp4"),
        ("index", 7),
        ("time", 1_700_000_000.123),
        ("logit", 1.25),
        ("score", 0.75),
        ("verdict", "fake"),
        ("latency_ms", {"capture": 0.123, "infer": 3.0}),
    ]


def test_presentation_time_and_error_only_where_there_is_one() -> None:
    result = Result(frame(pts=0.0), None, Verdict("uncertain"), error="the frame is too small")
    record = to_record(result)
    assert record["pts"] == 0.0
    assert record["error"] == "the frame is too small"
    assert record["logit"] is None
    assert record["score"] is None


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


def test_numbers_of_numpy_become_json() -> None:
    logit: float = np.float32(0.5)  # type: ignore[assignment]  # what a careless backend returns
    tile = Region(tuple(np.array([0, 0, 2, 4])), (4, 2), Evidence(logit))
    result = Result(frame(), Evidence(logit), Verdict("real", 0.1), regions=(tile, tile))
    record = json.loads(json.dumps(to_record(result), allow_nan=False))
    assert record["logit"] == 0.5
    assert record["regions"][0] == {"xyxy": [0, 0, 2, 4], "logit": 0.5}


def test_regions_are_told_only_where_there_are_several() -> None:
    one = Result(frame(), Evidence(1.0), Verdict("fake", 0.9), regions=(region(0, 1.0),))
    two = Result(
        frame(), Evidence(1.0), Verdict("fake", 0.9), regions=(region(0, 1.0), region(2, -3.0))
    )
    assert "regions" not in to_record(one)
    assert to_record(two)["regions"] == [
        {"xyxy": [0, 0, 2, 4], "logit": 1.0},
        {"xyxy": [2, 0, 4, 4], "logit": -3.0},
    ]


def test_faces_are_told_with_all_that_is_known_of_each() -> None:
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


def test_that_there_is_no_face_is_told_and_only_where_somebody_looked() -> None:
    record = to_record(Result(frame(), None, Verdict("uncertain"), faces=0))
    assert record["faces"] == [] and record["score"] is None and "error" not in record
    others = (
        Result(frame(), None, Verdict("uncertain"), error="the frame is too small"),
        Result(frame(), None, Verdict("no_signal")),
        Result(frame(), Evidence(1.0), Verdict("fake", 0.9), regions=(region(0, 1.0),)),
    )
    assert not any("faces" in to_record(result) for result in others)
