from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.end_to_end.clips import Scene, Size, write_clip
from benchmarks.end_to_end.names import BARE, CANDIDATES, ENCODED, OVERLAY
from benchmarks.end_to_end.rate import (
    HELD_FRAMES,
    Clip,
    Rounds,
    Watcher,
    decode_alone,
    model_alone,
    read_clip,
    through_pipeline,
)
from edge.detector import Detector
from edge.regions import RegionSpec, parse_region
from tests.fakes import FakeBackend, make_manifest

SMALL = Size("small", 96, 160)
NATIVE = RegionSpec("native")


def watcher(*clips: Clip, region: str = "native", name: str = "fake") -> Watcher:
    backend = FakeBackend(manifest=make_manifest(name=name))
    return Watcher(Detector(backend, parse_region(region)), clips)


def ticking() -> Callable[[], float]:
    """A clock that goes on by one second whenever it is asked."""
    return map(float, itertools.count()).__next__


def test_a_scene_moves_and_is_repeatable() -> None:
    first, again = Scene(SMALL, seed=1), Scene(SMALL, seed=1)
    pictures = [first.picture(index) for index in range(3)]
    assert all(np.array_equal(p, again.picture(i)) for i, p in enumerate(pictures))
    assert pictures[0].shape == (96, 160, 3)
    assert pictures[0].dtype == np.uint8
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 5


def test_a_clip_keeps_frames_spread_over_it(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", SMALL, 40), SMALL)
    assert clip.frames == 40
    assert len(clip.held) == HELD_FRAMES
    assert {held.shape for held in clip.held} == {(1, 96, 160, 3)}
    assert clip.mbit_per_s == pytest.approx((tmp_path / "a.mp4").stat().st_size * 8e-6 / (40 / 30))


def test_every_candidate_is_measured_each_round(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", SMALL, 6), SMALL)
    rounds = Rounds([clip], [watcher(clip)], tmp_path)
    told = [list(rounds.run()) for _ in range(2)]
    assert len(told[0]) == len(CANDIDATES)
    assert told[0][0] != told[1][0], "each round begins with another candidate"
    rows = {row["candidate"]: row for row in rounds.rows()}
    assert set(rows) == set(CANDIDATES)
    for row in rows.values():
        assert row["part"] == "rate"
        assert row["frames"] == 6
        assert isinstance(row["rounds_fps"], list)
        assert len(row["rounds_fps"]) == 2
    stages = {name: list(row["stages_ms"]) for name, row in rows.items()}  # type: ignore[call-overload]  # a mapping in these rows
    assert stages[BARE] == ["capture", "region", "model", "verdict", "rest"]
    assert stages[OVERLAY] == ["capture", "region", "model", "verdict", "overlay", "drop", "rest"]
    assert "encode" in stages[ENCODED]
    assert (tmp_path / "encoded.mp4").stat().st_size > 0


def test_each_model_is_measured_on_its_clips_and_named(tmp_path: Path) -> None:
    clips = [read_clip(write_clip(tmp_path / f"{n}.mp4", SMALL, 3), SMALL) for n in "ab"]
    watchers = [watcher(*clips, region="center:64", name="one"), watcher(clips[1], name="two")]
    rounds = Rounds(clips, watchers, tmp_path)
    assert len(list(rounds.run())) == 2 + 2 * 4 + 4
    rows = rounds.rows()
    assert [row.get("model") for row in rows] == [
        *[None, *["one"] * 4],
        *[None, *["one"] * 4, *["two"] * 4],
    ]
    assert {(row.get("model"), row.get("region")) for row in rows} == {
        (None, None),
        ("one", "center:64"),
        ("two", "native"),
    }


def test_an_interrupted_round_leaves_what_was_measured(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", SMALL, 4), SMALL)
    rounds = Rounds([clip], [watcher(clip)], tmp_path)
    running = rounds.run()
    next(running), next(running)
    del running
    (tmp_path / "a.mp4").unlink()
    assert [row["candidate"] for row in rounds.rows()] == list(CANDIDATES[:2])


def test_stages_add_up_to_the_time_of_a_frame(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", SMALL, 4), SMALL)
    detector = Detector(FakeBackend(), NATIVE)
    elapsed_s, stages = through_pipeline(clip, detector, [], ticking())
    assert elapsed_s == 2.0
    assert sum(stages.values()) == pytest.approx(2000 / 4)
    assert stages["capture"] >= 1000 / 4, "opening counts as waiting for the decoder"


def test_the_two_alone(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", SMALL, 30), SMALL)
    backend = FakeBackend()
    assert decode_alone(clip, ticking()) == 1.0
    assert model_alone(clip, Detector(backend, NATIVE), ticking()) == 1.0
