from __future__ import annotations

import math

import numpy as np
import pytest

from edge.decision.verdict import STILL, VerdictSettings
from edge.faces.verdicts import FaceVerdicts, combined, evidence_of_faces, leading
from edge.manifest import Calibration
from edge.types import Evidence, Frame, Region, Result, Verdict

QUICK = VerdictSettings(window_s=1.0, min_evidence_s=0.2, min_frames=3)
BLACK = np.zeros((4, 6, 3), np.uint8)


def face(track: int, logit: float, verdict: Verdict | None = None) -> Region:
    return Region((0, 0, 4, 4), (4, 4), Evidence(logit), verdict, track)


UNSURE = Verdict("uncertain")


def result(*regions: Region, verdict: Verdict = UNSURE) -> Result:
    return Result(Frame(BLACK, 0, 0.0, "clip"), None, verdict, regions=regions)


def test_each_face_is_judged_on_its_own_evidence() -> None:
    verdicts = FaceVerdicts(Calibration(), QUICK)
    for i in range(4):
        one, two = verdicts.judge(i / 10, [face(1, 6.0), face(2, -6.0)])
    assert one.verdict is not None and one.verdict.state == "fake"
    assert two.verdict is not None and two.verdict.state == "real"
    # Those who come later begin with nothing.
    *_, new = verdicts.judge(0.4, [face(1, 6.0), face(2, -6.0), face(3, 6.0)])
    assert new.verdict is not None and new.verdict.state == "uncertain"
    assert new.verdict.score is not None and new.verdict.score > 0.9


def test_a_face_that_is_gone_for_as_long_as_evidence_lasts_is_dropped() -> None:
    verdicts = FaceVerdicts(Calibration(), QUICK)
    for number in range(200):
        verdicts.judge(number / 4, [face(number, 1.0)])
    assert len(verdicts) <= 5
    for time_s in (60.0, 60.5, 61.0):
        verdicts.judge(time_s, [])
    assert len(verdicts) == 0


def test_a_face_that_was_away_for_a_moment_keeps_its_evidence() -> None:
    verdicts = FaceVerdicts(Calibration(), QUICK)
    for i in range(4):
        verdicts.judge(i / 10, [face(1, 6.0)])
    verdicts.judge(0.4, [])
    (back,) = verdicts.judge(0.5, [face(1, 6.0)])
    assert back.verdict is not None and back.verdict.state == "fake"


def test_a_step_back_in_time_starts_all_again() -> None:
    verdicts = FaceVerdicts(Calibration(), QUICK)
    for i in range(4):
        verdicts.judge(5 + i / 10, [face(1, 6.0), face(2, 6.0)])
    (one,) = verdicts.judge(0.0, [face(1, 6.0)])
    assert one.verdict is not None and one.verdict.state == "uncertain"
    assert len(verdicts) == 1


def test_a_still_picture_is_judged_at_once() -> None:
    (one,) = FaceVerdicts(Calibration(), STILL).judge(0.0, [face(1, 6.0)])
    assert one.verdict is not None and one.verdict.state == "fake"


def test_other_regions_are_left_as_they_are() -> None:
    tile = Region((0, 0, 4, 4), (4, 4), Evidence(1.0))
    assert FaceVerdicts(Calibration(), QUICK).judge(0.0, [tile]) == (tile,)
    assert leading([tile]) is None


def test_the_highest_score_leads_and_a_fake_face_before_all() -> None:
    real = face(1, -2.0, Verdict("real", 0.1))
    unsure = face(2, 1.0, Verdict("uncertain", 0.7))
    fake = face(3, 0.5, Verdict("fake", 0.65))
    unknown = face(4, math.nan, Verdict("uncertain"))
    assert leading([real, unsure, unknown]) is unsure
    assert leading([unknown, real, fake, unsure]) is fake
    assert leading([unknown, real]) is real
    assert leading([unknown]) is unknown
    assert leading([]) is None


def test_evidence_of_faces_leans_to_fake_and_prefers_what_is_finite() -> None:
    assert evidence_of_faces([face(1, -2.0), face(2, 3.0), face(3, math.nan)]).logit == 3.0
    assert math.isnan(evidence_of_faces([face(1, math.nan)]).logit)


@pytest.mark.parametrize(
    ("picture", "faces", "expected"),
    [
        (Verdict("real", 0.1), [Verdict("uncertain", 0.6)], Verdict("real", 0.1)),
        (Verdict("uncertain", 0.6), [Verdict("real", 0.2)], Verdict("uncertain", 0.6)),
        (
            Verdict("real", 0.1),
            [Verdict("fake", 0.8), Verdict("uncertain", 0.6)],
            Verdict("fake", 0.8, "face 1 looks swapped"),
        ),
        (
            Verdict("fake", 0.9),
            [Verdict("fake", 0.8), Verdict("fake", 0.95)],
            Verdict("fake", 0.95, "picture looks generated, faces 1 and 2 look swapped"),
        ),
        (None, [Verdict("uncertain", 0.6)], Verdict("uncertain", 0.6, "face 1 is unclear")),
        (None, [], Verdict("uncertain")),
    ],
)
def test_a_face_makes_a_source_fake_and_never_undecided(
    picture: Verdict | None, faces: list[Verdict], expected: Verdict
) -> None:
    regions = [face(number, 0.0, verdict) for number, verdict in enumerate(faces, 1)]
    assert combined(picture, regions) == expected
