from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edge.decision.judge import PLACEHOLDER_HW, Judge
from edge.decision.verdict import VerdictSettings
from edge.detector import Stopwatch
from edge.manifest import Calibration
from edge.regions import NOTHING_TO_SEE
from edge.types import Evidence, Frame, Region, Verdict
from tests.fakes import grey

QUICK = VerdictSettings(window_s=1.0, min_evidence_s=0.1, min_frames=2)


def make_judge(faces: bool = False, picture: bool = False) -> Judge:
    """Of the picture, of the faces, or of both."""
    own = Calibration() if picture or not faces else None
    return Judge("door", own, QUICK, Calibration() if faces else None)


def frame(index: int, captured_at: float = 1000.0) -> Frame:
    return Frame(grey(7, 120, 160), index, captured_at, "door", pts=index / 10)


def region(logit: float) -> tuple[Region, ...]:
    return (Region((0, 0, 160, 120), (120, 160), Evidence(logit)),)


def states_of(judge: Judge, count: int, *regions: Region, first: int = 0) -> list[str]:
    """The verdicts of frames with these regions."""
    indices = range(first, first + count)
    return [judge.judge(frame(i), regions, None, Stopwatch()).verdict.state for i in indices]


def test_silence_says_why_and_has_the_size_of_the_last_frame() -> None:
    judge = make_judge()
    before = judge.silence("nothing came", "timeout")
    assert (before.verdict.state, before.error, before.fault) == (
        "no_signal",
        "nothing came",
        "timeout",
    )
    assert before.frame.image.shape == (*PLACEHOLDER_HW, 3) and before.frame.index == -1
    judge.judge(frame(4), region(9.0), None, Stopwatch())
    after = judge.silence()
    assert after.frame.image.shape == (120, 160, 3) and after.frame.index == 4
    assert not after.frame.image.any() and after.frame.source == "door"


def test_only_live_frames_have_an_age(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = make_judge()
    monkeypatch.setattr("edge.decision.judge.time.time", lambda: 1000.25)
    assert judge.judge(frame(0), region(1.0), None, Stopwatch()).age_ms is None
    live = judge.judge(frame(1), region(1.0), None, Stopwatch(), live=True)
    assert live.age_ms == pytest.approx(250)
    # A frame from the future is a clock that was set, not a negative age.
    ahead = judge.judge(frame(2, 2000.0), region(1.0), None, Stopwatch(), live=True)
    assert ahead.age_ms == 0.0


def test_evidence_on_nothing_is_none() -> None:
    judge = make_judge()
    (seen,) = region(9.0)
    blank = (replace(seen, textured=False),)
    for index in range(4):
        result = judge.judge(frame(index), blank, None, Stopwatch())
        assert (result.verdict, result.verdict.reason) == (Verdict("uncertain"), NOTHING_TO_SEE)
        assert result.evidence is seen.evidence
    assert states_of(judge, 4, seen, first=4)[-1] == "fake"
    # What was seen before holds as long as evidence does.
    assert states_of(judge, 1, *blank, first=8) == ["fake"]
    covered = judge.judge(frame(500), blank, None, Stopwatch())
    assert (covered.verdict, covered.verdict.reason) == (Verdict("uncertain"), NOTHING_TO_SEE)
    # Where one part of several shows something, there is evidence.
    assert states_of(make_judge(), 4, *blank, seen)[-1] == "fake"


def test_a_face_in_front_of_nothing_is_judged() -> None:
    judge = make_judge(faces=True, picture=True)
    (seen,) = region(-9.0)
    blank = replace(seen, textured=False)
    judge.judge(frame(0), (blank,), None, Stopwatch())
    alone = judge.judge(frame(1), (blank,), None, Stopwatch())
    assert (alone.verdict.state, alone.verdict.reason) == ("uncertain", NOTHING_TO_SEE)
    for index in range(2, 6):
        result = judge.judge(frame(index), (blank, *faces(9.0)), None, Stopwatch())
    assert result.verdict.state == "fake" and "face 1" in (result.verdict.reason or "")


def faces(*logits: float, first: int = 1) -> tuple[Region, ...]:
    """Faces with numbers in a row."""
    return tuple(
        Region((0, 0, 8, 8), (8, 8), Evidence(logit), track=first + i)
        for i, logit in enumerate(logits)
    )


def test_each_face_has_its_verdict_and_the_frame_that_of_the_face_that_leads() -> None:
    judge = make_judge(faces=True)
    for i in range(4):
        result = judge.judge(frame(i), faces(-9.0, 8.0, 2.0), None, Stopwatch())
    verdicts = [region.verdict for region in result.regions]
    assert [verdict and verdict.state for verdict in verdicts] == ["real", "fake", "fake"]
    assert result.verdict == verdicts[1]
    assert result.evidence is result.regions[1].evidence
    assert result.faces == 3


def test_a_face_that_is_new_does_not_hide_one_that_is_fake() -> None:
    judge = make_judge(faces=True)
    states_of(judge, 4, *faces(3.0))
    result = judge.judge(frame(4), faces(3.0, 9.0), None, Stopwatch())
    assert result.verdict.state == "fake"
    assert result.evidence is not None and result.evidence.logit == 3.0


def test_a_frame_without_a_face_is_uncertain_and_has_no_score() -> None:
    judge = make_judge(faces=True)
    states_of(judge, 4, *faces(9.0))
    result = judge.judge(frame(4), (), None, Stopwatch())
    assert (result.verdict, result.evidence, result.error) == (Verdict("uncertain"), None, None)
    assert result.faces == 0
    # The face comes back with its number, and what was known of it.
    assert states_of(judge, 1, *faces(9.0), first=5) == ["fake"]
    failed = judge.judge(frame(6), (), "too small", Stopwatch())
    unsure = make_judge(faces=True).judge(frame(0), faces(math.nan), None, Stopwatch())
    elsewhere = make_judge().judge(frame(0), region(1.0), None, Stopwatch())
    assert [failed.faces, unsure.faces, elsewhere.faces] == [None, 1, None]
    assert unsure.verdict == Verdict("uncertain")
    assert unsure.error == "the model gave a logit that is not finite"


@pytest.mark.parametrize("forget", ["silence", "reset"])
@pytest.mark.parametrize("of_faces", [False, True])
def test_what_is_known_is_forgotten(forget: str, of_faces: bool) -> None:
    judge, shown = make_judge(of_faces), faces(9.0) if of_faces else region(9.0)
    assert states_of(judge, 4, *shown)[-1] == "fake"
    getattr(judge, forget)()
    assert states_of(judge, 1, *shown, first=4) == ["uncertain"]


def test_an_error_that_lasts_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    judge = make_judge(faces=True)
    for index in range(5):
        judge.judge(frame(index), (), "too small", Stopwatch())
    judge.judge(frame(5), region(1.0), None, Stopwatch())
    judge.judge(frame(6), (), "too small", Stopwatch())
    assert caplog.messages == ["door, frame 0: too small", "door, frame 6: too small"]


@pytest.mark.parametrize("silent", [False, True])
def test_evidence_too_rare_for_a_verdict_is_said_once(
    silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    judge = Judge("door", Calibration(), VerdictSettings())
    for index in range(20):
        rare = replace(frame(index), pts=(8.0 if silent else 16.0) * index)
        result = judge.judge(rare, region(9.0), None, Stopwatch())
        assert result.verdict.state == "uncertain"
        if silent:
            judge.silence()
    (line,) = caplog.messages
    assert line.startswith(f"door: a frame is scored every {8 if silent else 16} s, too rarely")
    assert "verdict.longest_window_s" in line


def test_a_source_that_is_slow_or_interrupted_needs_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow, fast = (Judge("door", Calibration(), VerdictSettings()) for _ in range(2))
    for index in range(100):
        slow.judge(replace(frame(index), pts=2.0 * index), region(9.0), None, Stopwatch())
        fast.judge(replace(frame(index), pts=0.1 * index), region(9.0), None, Stopwatch())
        if index % 30 == 29:
            slow.silence()
    assert caplog.messages == []
