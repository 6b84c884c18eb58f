from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import av
import pytest

from edge.errors import SinkError
from edge.sinks.paths import stamped_files
from edge.sinks.recording import RecordingSink
from edge.sinks.worker import SinkWorker
from edge.types import Image, Picture, Result
from tests.edge.sinks.results import give, make_result, moving, names, plain, stamp
from tests.edge.sinks.test_video import (
    HYBRID,
    PLAIN,
    boxes,
    clip,
    decode,
    length_s,
    nearest,
    record,
)

ROOT = Path(__file__).parents[3]
BEGAN = 1_700_000_000.0


def live(
    times: Iterable[float], image: Image | None = None, silent: Sequence[int] = ()
) -> list[Result]:
    """Frames of a camera that gives no presentation time."""
    shown = plain(64, 96, (40, 80, 120)) if image is None else image
    return [
        make_result(shown, i, captured_at=BEGAN + at, state="no_signal" if i in silent else "real")
        for i, at in enumerate(times)
    ]


def captured(results: Iterable[Result]) -> list[Result]:
    """The same with a capture time that fits the presentation time."""
    return [
        dataclasses.replace(
            result, frame=dataclasses.replace(result.frame, captured_at=BEGAN + result.frame.time_s)
        )
        for result in results
    ]


def write_all(sink: RecordingSink, results: Iterable[Result]) -> None:
    with sink:
        for result in results:
            give(sink, result)


def playable(path: Path) -> int:
    """Pictures of a file that may be cut off, as a player takes it: up to where it breaks."""
    count = 0
    with suppress(av.FFmpegError), av.open(str(path)) as container:
        for _ in container.decode(video=0):
            count += 1
    return count


def test_a_new_file_once_the_time_is_reached_and_no_frame_is_lost(tmp_path: Path) -> None:
    results = captured(clip(100))
    with RecordingSink(tmp_path / "door.mp4", 10.0, rotate_s=3.0) as sink:
        for result in results:
            give(sink, result)
        *finished, _ = sorted(tmp_path.iterdir())
        assert not HYBRID or [boxes(path) for path in finished] == [PLAIN] * 3
        assert len(decode(finished[-1])[0]) == 30
    assert names(tmp_path) == [f"door_{stamp(BEGAN + s)}.mp4" for s in (0, 3, 6, 9)]
    originals = [result.frame.image for result in results]
    seen: list[int] = []
    for path, count in zip(sorted(tmp_path.iterdir()), (30, 30, 30, 10), strict=True):
        times, pictures = decode(path)
        assert times == pytest.approx([i / 10 for i in range(count)], abs=0.001)
        assert length_s(path) == pytest.approx(count / 10, abs=0.01)
        seen += [nearest(picture, originals) for picture in pictures]
    assert seen == list(range(100))


def test_a_new_file_once_the_size_is_reached_and_no_frame_is_lost(tmp_path: Path) -> None:
    results = captured(clip(150, height=240, width=320))
    whole = tmp_path / "whole.mp4"
    record(whole, results)
    limit = whole.stat().st_size // 4
    folder = tmp_path / "parts"
    folder.mkdir()
    write_all(RecordingSink(folder / "door.mkv", 10.0, rotate_bytes=limit), results)
    paths = sorted(folder.iterdir())
    counts = [len(decode(path)[0]) for path in paths]
    assert len(paths) in (3, 4, 5) and sum(counts) == 150
    # What the encoder holds, and half a second that is not on the disk yet, come on top.
    most = limit + 2 * whole.stat().st_size * 10 // 150
    assert all(limit <= path.stat().st_size <= most for path in paths[:-1])


def test_a_frame_of_another_size_begins_a_new_file(tmp_path: Path) -> None:
    sizes = [(64, 96)] * 3 + [(96, 128)] * 2 + [(64, 96)] * 4
    pictures = [plain(*hw, (200, 200, 200)) for hw in sizes]
    results = [make_result(p, captured_at=BEGAN + i) for i, p in enumerate(pictures)]
    write_all(RecordingSink(tmp_path / "door.mp4", rotate_s=3600.0), results)
    parts = [decode(path)[1] for path in sorted(tmp_path.iterdir())]
    assert [len(part) for part in parts] == [3, 2, 4]
    assert [part[0].shape[:2] for part in parts] == [(64, 96), (96, 128), (64, 96)]
    assert min(picture.min() for part in parts for picture in part) > 190


def test_names_that_exist_get_a_number_and_nothing_is_overwritten(tmp_path: Path) -> None:
    existing = tmp_path / f"door_{stamp(BEGAN)}.mp4"
    existing.write_bytes(b"precious")
    write_all(RecordingSink(tmp_path / "door.mp4", rotate_s=0.25), live([0.0, 0.3, 0.6, 0.9]))
    assert names(tmp_path) == sorted(
        f"door_{stamp(BEGAN)}{number}.mp4" for number in ("", "-2", "-3", "-4", "-5")
    )
    assert existing.read_bytes() == b"precious"


def test_a_clock_that_is_set_back_breaks_neither_names_nor_time(tmp_path: Path) -> None:
    steps = [0.0, 0.5, 1.0, 1.5, -7200.0, -7199.5, -7199.0, -7198.5, 5e8, 5e8 + 0.5]
    write_all(RecordingSink(tmp_path / "door.mp4", 2.0, rotate_s=1.0, keep_files=4), live(steps))
    # The first was deleted, though the clock says of others that they are older.
    assert set(names(tmp_path)) == {f"door_{stamp(BEGAN + at)}.mp4" for at in steps[2::2]}
    for path in tmp_path.iterdir():
        assert decode(path)[0] == pytest.approx([0, 0.5], abs=0.001)


@pytest.mark.parametrize("captured_at", [math.nan, math.inf, -1.0, 1e18])
def test_a_capture_time_that_is_no_date(tmp_path: Path, captured_at: float) -> None:
    results = [make_result(index=i, captured_at=captured_at, pts=i / 10) for i in range(5)]
    write_all(RecordingSink(tmp_path / "door.mp4", rotate_s=60.0), results)
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"door_20\d{6}-\d{6}\.mp4", path.name)
    assert len(decode(path)[0]) == 5


def test_silence_before_the_first_picture_is_left_out_and_later_kept(tmp_path: Path) -> None:
    results = live([0, 1, 2, 3, 4, 5], silent=[0, 1])
    black = plain(360, 640, (0, 0, 0))  # of another size, which begins no file
    results[3] = make_result(black, 3, captured_at=BEGAN + 3, state="no_signal")
    write_all(RecordingSink(tmp_path / "door.mp4", rotate_s=60.0), results)
    assert names(tmp_path) == [f"door_{stamp(BEGAN + 2)}.mp4"]
    assert decode(next(tmp_path.iterdir()))[0] == pytest.approx([0, 1, 2, 3], abs=0.001)


def test_a_file_ends_in_a_silence_and_the_next_begins_with_the_picture(tmp_path: Path) -> None:
    results = live([0, 1, 6, 11, 16, 21, 22], silent=[2, 3, 4])
    with RecordingSink(tmp_path / "door.mp4", rotate_s=10.0) as sink:
        for result in results[:4]:
            give(sink, result)
        (first,) = tmp_path.iterdir()
        assert decode(first)[0] == pytest.approx([0, 1, 6], abs=0.001)
        for result in results[4:]:
            give(sink, result)
    assert names(tmp_path) == [f"door_{stamp(BEGAN + s)}.mp4" for s in (0, 21)]
    counts = [len(decode(path)[0]) for path in sorted(tmp_path.iterdir())]
    assert counts == [3, 2]


STEM = "d.o?r (1) [a-z]+ tür"  # to be taken literally
LOOKALIKES = [
    f"{STEM}.mp4",
    *(
        f"{STEM}_20200101-{rest}"
        for rest in ("120000.mkv", "120000.mp4.bak", "1200000.mp4", "120000-x.mp4", "12000０.mp4")
    ),
    f"out{STEM}_20200101-120000.mp4",
    f"{STEM}_2_20200101-120000.mp4",
    f"{STEM}X20200101-120000.mp4",
    "dxr (1) a tür_20200101-120000.mp4",
]


def age(path: Path, unix_s: float) -> None:
    os.utime(path, (unix_s, unix_s))


def test_only_its_own_oldest_files_are_deleted_those_of_earlier_runs_too(tmp_path: Path) -> None:
    earlier = [f"{STEM}_2020010{day}-120000.mp4" for day in range(1, 5)]
    for number, name in enumerate([*earlier, *LOOKALIKES]):
        (tmp_path / name).write_bytes(b"old")
        age(tmp_path / name, 1e9 + number)
    folder, link = (tmp_path / f"{STEM}_2019010{day}-120000.mp4" for day in (1, 2))
    folder.mkdir()
    link.symlink_to(tmp_path / f"{STEM}.mp4")
    others = {*LOOKALIKES, folder.name, link.name}
    sink = RecordingSink(tmp_path / f"{STEM}.mp4", 10.0, rotate_s=1.0, keep_files=3)
    with sink:
        left = [set(names(tmp_path)) - others]
        for result in captured(clip(25)):
            give(sink, result)
            if (now := set(names(tmp_path)) - others) != left[-1]:
                left.append(now)
    mine = [f"{STEM}_{stamp(BEGAN + s)}.mp4" for s in (0, 1, 2)]
    assert left[0] == set(earlier)
    assert left[-1] == set(names(tmp_path)) - others == set(mine)
    # There are never fewer than three whole ones, and one more only until the new one is there.
    assert all(len(now) in (3, 4) for now in left)
    assert others <= set(names(tmp_path))


def test_the_oldest_is_what_was_written_to_longest_ago(tmp_path: Path) -> None:
    # As a board without a battery leaves them: the second is from before the clock was set, and the
    # last three are of one moment.
    stamps = ["20240101-120000", "19700101-000010", "20240101-130000", "20240102-120000"]
    order = [f"door_{stamp}.mp4" for stamp in [*stamps, f"{stamps[3]}-2", f"{stamps[3]}-10"]]
    for number, name in enumerate(order):
        (tmp_path / name).touch()
        age(tmp_path / name, 1e9 + min(number, 3))
    assert [path.name for path in stamped_files(tmp_path / "door.mp4")] == order


def test_the_source_is_never_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "door_20200101-120000.mp4"
    source.write_bytes(b"precious")
    sink = RecordingSink(tmp_path / "door.mp4", rotate_s=1.0, keep_files=1)
    write_all(sink, [make_result(index=i, source=str(source), pts=i / 5) for i in range(15)])
    assert source.read_bytes() == b"precious"
    assert len(names(tmp_path)) == 2
    assert f"{source} was not deleted: it is the source itself." in caplog.text


def test_one_that_a_person_deleted_is_not_missed(tmp_path: Path) -> None:
    with RecordingSink(tmp_path / "door.mp4", 10.0, rotate_s=1.0, keep_files=2) as sink:
        for index, result in enumerate(captured(clip(45))):
            give(sink, result)
            if index == 15:
                min(tmp_path.iterdir()).unlink()
    assert names(tmp_path) == [f"door_{stamp(BEGAN + s)}.mp4" for s in (3, 4)]


def test_a_file_that_cannot_be_written_costs_no_older_one(tmp_path: Path) -> None:
    folder, away = tmp_path / "here", tmp_path / "away"
    folder.mkdir()
    sink = RecordingSink(folder / "door.mp4", 10.0, rotate_s=1.0, keep_files=2)
    results = captured(clip(40))
    with pytest.raises(SinkError, match="there is no folder"), sink:
        for result in results[:20]:
            give(sink, result)
        folder.rename(away)
        for result in results[20:]:
            give(sink, result)
    away.rename(folder)
    assert [len(decode(path)[0]) for path in sorted(folder.iterdir())] == [10, 10]
    with sink:  # and goes on
        for result in results[25:]:
            give(sink, result)
    assert names(folder) == [f"door_{stamp(BEGAN + s)}.mp4" for s in (2.5, 3.5)]


@pytest.mark.parametrize("rotate_s", [None, 5.0])
def test_a_wrong_place_is_found_before_the_first_frame(
    tmp_path: Path, rotate_s: float | None
) -> None:
    for name, reason in (
        ("absent/door.mp4", "there is no folder"),
        ("door.avi", "must end in"),
        (f"{'d' * 252}.mp4", "name is too long"),
    ):
        sink = RecordingSink(tmp_path / name, rotate_s=rotate_s)
        with pytest.raises(SinkError, match=reason), sink:
            pass
    assert names(tmp_path) == []


def in_a_process(call: str, *arguments: object) -> list[str]:
    """The command that calls a function of this module."""
    script = f"import sys; from tests.edge.sinks import test_recording; test_recording.{call}"
    return [sys.executable, "-c", f"{script}(*sys.argv[1:])", *map(str, arguments)]


def record_endlessly(path: str, fps: str, rotate_s: str, last: str = "-1") -> None:
    """Record, and print the index of each frame that was written; die after the last."""
    images = itertools.cycle(list(moving(96, 128, 40)))
    with RecordingSink(Path(path), float(fps), rotate_s=float(rotate_s)) as sink:
        for index, image in enumerate(images):
            time_s = index / float(fps)
            give(sink, make_result(image, index, captured_at=BEGAN + time_s, pts=time_s))
            print(index, flush=True)
            if index == int(last):
                os._exit(9)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("last", [5, 14])  # before the second fragment, and after it
def test_a_run_that_died_soon_left_a_recording_that_is_closed_and_marked(
    tmp_path: Path, suffix: str, last: int
) -> None:
    command = in_a_process("record_endlessly", tmp_path / f"door{suffix}", 3, 10.0, last)
    assert subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT).returncode == 9
    (path,) = tmp_path.iterdir()
    left = playable(path)
    assert 0 < left <= last + 1
    with RecordingSink(tmp_path / f"door{suffix}", rotate_s=10.0):
        pass
    assert len(decode(path)[0]) == left
    with av.open(str(path)) as container:
        comments = {key.lower(): value for key, value in container.metadata.items()}
    marked = comments.get("comment", "").startswith("interrupted")
    assert marked or (suffix == ".mp4" and not HYBRID)


@pytest.mark.parametrize(("fps", "rotate_s"), [(3, 10.0), (30, 2.5)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_run_loses_two_seconds_at_most(
    tmp_path: Path, fps: int, rotate_s: float, suffix: str
) -> None:
    command = in_a_process("record_endlessly", tmp_path / f"door{suffix}", fps, rotate_s)
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as run:
        assert run.stdout is not None
        for _ in range(round(2.8 * rotate_s * fps)):
            written = int(run.stdout.readline())
        run.kill()
        for line in run.stdout:
            written = int(line)
    *whole, current = sorted(tmp_path.iterdir())
    counts = [len(decode(path)[0]) for path in whole]
    assert len(counts) >= 2 and counts == [round(rotate_s * fps)] * len(counts)
    left = playable(current)
    assert written + 1 - sum(counts) - left <= 2 * fps
    # The next start closes it, and leaves alone what is being recorded.
    results = captured(clip(15))
    with RecordingSink(tmp_path / f"other{suffix}") as other:
        for result in results[:10]:
            give(other, result)
        with RecordingSink(tmp_path / f"other{suffix}", rotate_s=5.0):
            pass
        for result in results[10:]:
            give(other, result)
    assert len(decode(tmp_path / f"other{suffix}")[0]) == 15
    with RecordingSink(tmp_path / f"door{suffix}", rotate_s=rotate_s):
        pass
    # One with all its frames may have been finished when the run was killed.
    if 0 < left < round(rotate_s * fps) and (HYBRID or suffix == ".mkv"):
        assert len(decode(current)[0]) >= left and length_s(current) > 0
        assert suffix == ".mkv" or "moof" not in boxes(current)
        with av.open(str(current)) as container:
            comments = {key.lower(): value for key, value in container.metadata.items()}
        assert comments["comment"].startswith("interrupted")


def served(worker: SinkWorker, results: Iterable[Result]) -> None:
    """Give results to a worker one by one, until it stops."""
    for count, result in enumerate(results, start=1):
        worker.put(result, Picture.of(result.frame.image))
        while worker.health().written + worker.health().dropped < count:
            time.sleep(0.0005)
        if worker.health().state == "stopped":
            break
    assert worker.close(60.0)


def fill(folder: str) -> None:
    """Record until there is no room, behind a worker; prints what it logs."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    sink = RecordingSink(Path(folder, "door.mp4"), 10.0, rotate_s=3.0)
    worker = SinkWorker(sink, name="door: recording", capacity=2)
    worker.open()
    images = itertools.islice(itertools.cycle(list(moving(240, 320, 40))), 2000)
    served(worker, captured(make_result(image, i, pts=i / 10) for i, image in enumerate(images)))
    print(worker.health().state, worker.health().written)


def test_a_full_disk_stops_the_recording_with_one_line_and_what_was_written_plays(
    tmp_path: Path,
) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, to mount a small disk where nobody else sees it")
    mount = 'mount -t tmpfs -o size=1m tmpfs "$1"'
    unshare = ["unshare", "--mount", "sh", "-c"]
    probe = [*unshare, mount, "sh", str(disk)]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here (it needs root)")
    script = f'{mount} && shift 2 && "$@" && cp -r "{disk}" "{kept}"'
    command = [*unshare, script, "sh", str(disk), "--", *in_a_process("fill", disk)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    line, last = done.stdout.splitlines()
    assert line.startswith("door: recording stopped; detection continues: ")
    assert "cannot be written: the disk is full. Free some space" in line
    state, written = last.split()
    assert state == "stopped"
    *whole, last_path = sorted(kept.iterdir())
    counts = [len(decode(path)[0]) for path in whole]
    assert counts and counts == [30] * len(counts)
    assert int(written) - sum(counts) - playable(last_path) <= 20
