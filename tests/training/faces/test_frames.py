"""`patchwatch frames`: which frames, where they go, and what happens to files that are none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest
from av.video.stream import VideoStream
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import get_sampling

import patchwatch
from edge.errors import SourceError
from tests.edge.sources.clips import level, write_clip
from tests.training.faces.made_videos import (
    audio_only,
    empty_frames,
    person_frames,
    truncated,
    write_video,
)
from training.faces.frames import RECORD
from training.faces.sampling import sampled

GAPS = [0, 1, 2, 9, 10, 31, 33, 34, 35, 58]
"""Places of the frames of an unsteady clip, in thirtieths of a second."""


TIED = [0, 14, 16, 29, 31]
"""Two frames are equally near to every half second."""


def nearest(times: list[Fraction], step: Fraction, end: Fraction) -> list[int]:
    """By looking at every frame for every moment."""
    chosen: dict[int, None] = {}
    tick = Fraction(0)
    while tick < end:
        chosen[min(range(len(times)), key=lambda i: (abs(times[i] - tick), i))] = None
        tick += step
    return list(chosen)


@pytest.mark.parametrize("fps", [1, 2, 2.5, 7, 10, 29.97, 30, 100])
@pytest.mark.parametrize(
    "places", [list(range(45)), GAPS, TIED], ids=["steady", "unsteady", "tied"]
)
def test_each_moment_gets_the_nearest_frame(tmp_path: Path, fps: float, places: list[int]) -> None:
    clip = write_clip(tmp_path / "clip.mp4", gaps=places)
    found = list(sampled(clip, fps))
    times = [Fraction(place, 30) for place in places]
    expected = nearest(
        times, 1 / Fraction(fps).limit_denominator(10**6), times[-1] + Fraction(1, 30)
    )
    assert [frame.index for frame in found] == expected
    for frame in found:
        assert frame.time_s == pytest.approx(places[frame.index] / 30, abs=1e-3)
        assert abs(float(frame.image.mean()) - level(frame.index)) < 3


@pytest.mark.skipif(
    not hasattr(VideoStream, "set_display_rotation"), reason="this PyAV cannot write such a clip"
)
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_pictures_are_turned_as_a_player_turns_them(tmp_path: Path, turned: int) -> None:
    clip = write_video(tmp_path / "a.mp4", person_frames(1, 2, (192, 128)), rotated=turned)
    first = next(iter(sampled(clip, 1))).image
    _, shown = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG).read()
    assert first.shape == shown.shape == ((192, 128, 3) if turned in (90, 270) else (128, 192, 3))
    assert float(np.abs(first.astype(int) - shown).mean()) < 2


def test_pictures_mirror_the_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_video(videos / "one" / "a.mp4", person_frames(1, 16))
    write_video(videos / "one" / "a.mkv", person_frames(2, 8))
    write_video(videos / "two" / "deep" / "b.MP4", person_frames(3, 12))
    (videos / "readme.txt").write_text("about")
    assert patchwatch.main(["frames", str(videos), str(out), "--fps", "2", "--workers", "1"]) == 0
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.jpg")) == [
        "one/a.mkv/000000.jpg",
        "one/a.mkv/000004.jpg",
        *(f"one/a.mp4/{n:06d}.jpg" for n in (0, 4, 8, 12)),
        *(f"two/deep/b.MP4/{n:06d}.jpg" for n in (0, 4, 8)),
    ]
    told = capsys.readouterr().err
    assert "3 videos, 9 pictures." in told and "1 other file was passed by" in told


def test_jpegs_are_of_quality_95_and_pngs_lossless(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "videos" / "a.mp4", person_frames(1, 4))
    for out, flags in (("jpg", []), ("png", ["--png"])):
        arguments = [str(clip.parent), str(tmp_path / out), "--workers", "1", *flags]
        assert patchwatch.main(["frames", *arguments]) == 0
    first = next(iter(sampled(clip, 1))).image
    png = np.asarray(PillowImage.open(tmp_path / "png" / "a.mp4" / "000000.png"))
    np.testing.assert_array_equal(png[:, :, ::-1], first)
    with PillowImage.open(tmp_path / "jpg" / "a.mp4" / "000000.jpg") as jpeg:
        PillowImage.fromarray(png).save(tmp_path / "q.jpg", quality=95)
        with PillowImage.open(tmp_path / "q.jpg") as known:
            assert jpeg.quantization == known.quantization  # type: ignore[attr-defined]
        assert get_sampling(jpeg) == 0, "colours at full resolution"
        assert float(np.abs(np.asarray(jpeg).astype(int) - png).mean()) < 2


@pytest.fixture
def stamped(tmp_path: Path) -> Callable[[], dict[str, int]]:
    """Runs the command on tmp_path/videos, and tells when each picture was written."""

    def run() -> dict[str, int]:
        out = tmp_path / "out"
        arguments = ["frames", str(tmp_path / "videos"), str(out), "--fps", "2", "--workers", "1"]
        assert patchwatch.main(arguments) == 0
        return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.rglob("*.jpg")}

    return run


def test_only_what_is_missing_or_changed_is_done_again(
    tmp_path: Path, stamped: Callable[[], dict[str, int]]
) -> None:
    for name in "abc":
        write_video(tmp_path / "videos" / f"{name}.mp4", person_frames(ord(name), 8))
    first = stamped()
    assert stamped() == first
    shutil.rmtree(tmp_path / "out" / "a.mp4")
    write_video(tmp_path / "videos" / "b.mp4", person_frames(50, 12))
    again = stamped()
    kept = {name for name in again if again[name] == first.get(name)}
    assert kept == {name for name in again if name.startswith("c.mp4")} and len(kept) == 2
    assert sum(name.startswith("b.mp4") for name in again) == 3
    assert stamped() == again


def test_what_a_killed_run_left_is_done_again(
    tmp_path: Path, stamped: Callable[[], dict[str, int]]
) -> None:
    write_video(tmp_path / "videos" / "a.mp4", person_frames(1, 8))
    write_video(tmp_path / "videos" / "b.mp4", person_frames(2, 8))
    first = stamped()
    record = tmp_path / "out" / RECORD
    lines = record.read_text().splitlines()
    record.write_text(lines[0] + "\n" + lines[1][:40])  # torn in the middle of the second
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = tmp_path / "out" / f".b.mp4.{process.pid}.part"
    shutil.move(tmp_path / "out" / "b.mp4", dead)
    again = stamped()
    assert again.keys() == first.keys()
    assert again["a.mp4/000000.jpg"] == first["a.mp4/000000.jpg"] and not dead.exists()
    assert stamped() == again


def test_files_that_are_no_whole_videos_are_a_sentence_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_video(videos / "good.mp4", empty_frames(8))
    audio_only(videos / "sound.mp4")
    truncated(videos / "cut.mp4")
    (videos / "text.mp4").write_text("#EXTM3U\nhttp://127.0.0.1:9/x.ts\n")
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    arguments = ["frames", str(videos), str(out), "--fps", "2", "--workers", "1"]
    for _ in range(2):  # a run that goes on tells the same
        assert patchwatch.main(arguments) == 1
        told = capsys.readouterr().err.splitlines()
        assert told[0].startswith("6 videos, ")
        assert told[1].startswith("5 files are damaged or no video")
        assert f"{videos / 'sound.mp4'}: expected video, found no video track." in told
        assert (
            f"{videos / 'text.mp4'}: expected a video that can be decoded, found a text file."
            in told
        )
        assert f"{videos / 'empty.mp4'}: the file is empty (0 bytes)." in told
        assert sum(str(videos / "noise.mp4") in line for line in told) == 1
        assert [line for line in told if "cut.mp4: the file is truncated (" in line]
    assert len(list((out / "good.mp4").iterdir())) == 2
    assert list((out / "cut.mp4").iterdir()), "what could be decoded is kept"
    assert not (out / "sound.mp4").exists()


def test_frames_from_a_damage_to_the_next_key_frame_are_left_out(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.mp4", person_frames(1, 24))
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place, size = packets[10].pos, packets[10].size
    content = bytearray(clip.read_bytes())
    assert place is not None
    content[place : place + size] = b"\xff" * size
    clip.write_bytes(content)
    found = []
    with pytest.raises(SourceError, match=r"a\.mp4: the video is damaged"):
        for frame in sampled(clip, 8):
            found.append(frame.index)
    assert found == list(range(10))  # what is predicted from a damaged frame is no evidence


def test_processes_write_the_same(tmp_path: Path) -> None:
    for person in range(3):
        write_video(tmp_path / "videos" / f"{person}.mp4", person_frames(person, 8))
    written = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        arguments = ["frames", str(tmp_path / "videos"), str(out), "--workers", workers]
        assert patchwatch.main(arguments) == 0
        written.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*.jpg")})
        assert len((out / RECORD).read_text().splitlines()) == 3
    assert written[0] == written[1] and len(written[0]) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing_half_done(tmp_path: Path, number: signal.Signals) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    first = write_video(videos / "000.mp4", person_frames(0, 160, (128, 128)))
    for place in range(1, 150):
        os.link(first, videos / f"{place:03d}.mp4")
    command = [sys.executable, "-m", "patchwatch", "frames", str(videos), str(out), "--fps", "8"]
    run = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / RECORD).exists() and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(number)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 128 + number, told
    assert told == "Stopped. The same command goes on from here.\n"
    done = [json.loads(line)["video"] for line in (out / RECORD).read_text().splitlines()]
    folders = {path.name: len(list(path.iterdir())) for path in out.iterdir() if path.is_dir()}
    assert 0 < len(done) < 150 and set(done) <= set(folders)
    assert set(folders.values()) == {160}, "no half of a video, under any name"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no groups of processes")
def test_ctrl_c_while_processes_begin_is_one_line(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    first = write_video(videos / "0.mp4", person_frames(0, 80))
    for place in range(1, 20):
        os.link(first, videos / f"{place}.mp4")
    command = [sys.executable, "-m", "patchwatch", "frames", str(videos), str(tmp_path / "out")]
    run = subprocess.Popen(
        [*command, "--workers", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    parent, deadline = psutil.Process(run.pid), time.monotonic() + 60
    while len(parent.children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to all of them
    _, told = run.communicate(timeout=60)
    assert run.returncode == 130, told
    assert told == "Stopped. The same command goes on from here.\n"


@pytest.mark.parametrize("fps", ["0", "-1", "nan", "inf", "fast"])
def test_a_rate_must_be_a_number_above_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fps: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        patchwatch.main(["frames", str(tmp_path), str(tmp_path / "out"), f"--fps={fps}"])
    assert "expected a number above 0" in capsys.readouterr().err


def test_a_folder_without_videos_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert patchwatch.main(["frames", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "has no file that is named as a video" in capsys.readouterr().err
    assert patchwatch.main(["frames", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
