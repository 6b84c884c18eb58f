"""What people read about a verdict, the same on pictures, at the terminal and in reports."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edge.types import Region, Result, State

STATE_WORDS: dict[State, str] = {
    "fake": "FAKE",
    "real": "REAL",
    "uncertain": "UNCERTAIN",
    "no_signal": "NO SIGNAL",
}

MEANING: dict[State, str] = {
    "fake": "looks generated",
    "real": "nothing suspicious",
    "uncertain": "cannot tell",
    "no_signal": "no picture comes",
}

NO_FACE = "NO FACE"
"""In place of a verdict, where faces are judged and there is none."""


def percent(score: float | None) -> str:
    """A score for people; it never claims certainty. Empty where there is none."""
    if score is None or not math.isfinite(score):
        return ""
    rounded = round(100 * score)
    return "<1 %" if rounded < 1 else ">99 %" if rounded > 99 else f"{rounded} %"


def fake_percent(score: float | None) -> str:
    """The same with what it is a probability of: "REAL 7 %" alone would mean the opposite."""
    return f"fake {percent(score)}" if percent(score) else ""


def share_of_time(share: float) -> str:
    """For how much of a time something was judged fake, 0..1."""
    return f"fake for {percent(share)} of the time" if share else "never judged fake"


def word_of(result: Result) -> str:
    """The word of a result's verdict."""
    return NO_FACE if has_no_face(result) else STATE_WORDS[result.verdict.state]


def has_no_face(result: Result) -> bool:
    """Whether faces alone were to be judged, and there is none."""
    return result.faces == 0 and result.evidence is None


def is_blank(result: Result) -> bool:
    """Whether there was nothing to see in the picture, so that its evidence is none."""
    parts = [region for region in result.regions if region.track is None]
    return bool(parts) and not any(region.textured for region in parts)


def fake_parts(result: Result) -> Iterator[str]:
    """What looks fake of a result whose faces were judged."""
    if result.picture is not None and result.picture.state == "fake":
        yield "picture looks generated"
    if any(region.verdict and region.verdict.state == "fake" for region in result.regions):
        yield "a face looks swapped"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of something: "1 file", "3 files"; the plural where no s makes it."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or noun + 's'}"


def duration(seconds: float) -> str:
    """How long, in the units that matter: "12 s", "3 min 20 s", "25 min", "2 h 5 min"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small, units = (whole // 60, whole % 60, ("min", "s"))
    if whole >= 3600:
        large, small, units = (whole // 3600, whole % 3600 // 60, ("h", "min"))
    return f"{large} {units[0]}" + (f" {small} {units[1]}" if small and large < 10 else "")


def position(seconds: float) -> str:
    """A place in a recording: "0:46", "1:02:03"."""
    minutes, whole = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


def area_of(regions: tuple[Region, ...], size_hw: tuple[int, int]) -> str:
    """What part of a frame of that height and width the model saw; empty where it saw none."""
    if not regions:
        return ""
    left, top, right, bottom = regions[0].xyxy
    if len(regions) > 1:
        return f"whole frame, {len(regions)} tiles"
    if (right - left, bottom - top) == (size_hw[1], size_hw[0]):
        return "whole frame"
    return f"{right - left}×{bottom - top} px in the frame"
