"""Streams that change, break, dawdle and start over: whatever comes whole is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.edge.sources.clips import flat_clip, flat_jpeg
from tests.faults.program import Program, Row, camera, config, scored, silent
from tests.faults.proxy import bad_line
from tests.servers import KillableRtsp, motion_jpeg

SIZES = {(640, 480): 60, (1920, 1080): 130, (480, 360): 200}
GREY = 128
"""What the model of these tests subtracts from the mean of a picture."""

SLOW_FPS = 0.2
SLOW_CAPTURE = {"open_timeout_s": 25.0, "frame_timeout_s": 12.0}
SLOW_FRAMES = 4
HITS = 60


@pytest.fixture(scope="module", autouse=True)
def slow_program(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Program]:
    """Watches two cameras that give a frame in five seconds, while the other tests run."""
    folder = tmp_path_factory.mktemp("slow")
    clip = flat_clip(folder / "slow.mp4", 240, s=50, fps=SLOW_FPS)
    with KillableRtsp(clip) as server, motion_jpeg([flat_jpeg(240)], fps=SLOW_FPS) as url:
        cameras = [camera("rtsp", server.address), camera("http", url)]
        with Program(folder, config(model, cameras, SLOW_CAPTURE)) as program:
            yield program


def of_level(name: str, level: float) -> Callable[[Row], bool]:
    """Whether a line is of a scored frame of a camera, and so bright."""
    return lambda row: scored(name)(row) and abs(row["logit"] + GREY - level) < 6


@pytest.mark.slow
def test_every_size_of_a_stream_that_changes_it_is_scored(tmp_path: Path, model: Path) -> None:
    clips = [
        flat_clip(tmp_path / f"{level}.mp4", level, size, s=0.8) for size, level in SIZES.items()
    ]
    pictures = [flat_jpeg(level, size) for size, level in SIZES.items() for _ in range(10)]
    with KillableRtsp(*clips) as server, motion_jpeg(pictures) as url:
        cameras = [camera("rtsp", server.address), camera("http", url)]
        with Program(tmp_path, config(model, cameras, {})) as program:
            for name in ("rtsp", "http"):
                for size, level in SIZES.items():
                    program.wait(f"{size} of {name}", of_level(name, level))
                after = len(program.rows)
                for size, level in SIZES.items():
                    program.wait(f"{size} of {name} again", of_level(name, level), after=after)
            assert not any(map(silent(), program.rows))
            program.stop_whole()


def test_damage_on_the_way_does_not_end_a_stream(
    tmp_path: Path, model: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with KillableRtsp(clip) as server, bad_line(server.port) as line:
        cameras = [camera("door", f"rtsp://127.0.0.1:{line.port}/clip")]
        with Program(tmp_path, config(model, cameras, {"retry": {"quick_s": 0.3}})) as program:
            program.wait("frame", scored())
            line.corrupt = 0.2
            program.until(lambda: line.hits >= HITS, "damage")
            during = len(program.rows)
            line.corrupt = 0.0
            program.wait("frame after the damage", of_level("door", 240), after=during + 5)
            rows = [row for row in program.rows if scored()(row)]
            program.stop_whole()
    off = sum(not of_level("door", 240)(row) for row in rows)
    with capsys.disabled():
        print(
            f"\n{line.hits} of {line.packets} packets damaged: {len(rows)} frames "
            f"scored, {off} of another brightness; {line.accepted} connections"
        )


def test_a_clip_that_loops_goes_on_like_a_camera(tmp_path: Path, model: Path) -> None:
    clip = flat_clip(tmp_path / "clip.mp4", 240, s=0.6)
    frames = round(0.6 * 25)
    with Program(tmp_path, config(model, [camera("clip", str(clip))], {"loop": True})) as program:
        last = program.wait("third turn", lambda row: row["index"] >= 2 * frames)
        rows = program.rows
        assert not any(map(silent(), rows))
        assert all(a["pts"] < b["pts"] for a, b in pairwise(rows))
        assert last["pts"] == pytest.approx(last["index"] / 25, abs=0.3)
        program.stop_whole()


@pytest.mark.parametrize("name", ["rtsp", "http"])
@pytest.mark.slow
def test_a_camera_of_a_frame_in_five_seconds_has_a_signal(slow_program: Program, name: str) -> None:
    def rows() -> list[Row]:
        return [row for row in slow_program.rows if row["source"] == name]

    slow_program.until(lambda: len(rows()) >= SLOW_FRAMES, f"{SLOW_FRAMES} frames of {name}", 60)
    assert all(map(scored(), rows()))
    # What came while the stream was looked into comes at once, and the newest of it is enough; from
    # then on one that was left out would show as a gap.
    gaps_s = [b["time"] - a["time"] for a, b in pairwise(rows())]
    assert max(gaps_s) < 1.5 / SLOW_FPS
    slow_program.check_whole()
