from __future__ import annotations

import os
import re
from pathlib import Path

import av
import numpy as np
import pytest

from edge.errors import SourceError
from edge.sources import open_recording
from edge.types import Frame
from tests.edge.sources.clips import FPS, cut, nothing_left_behind, number, write_clip
from tests.programs import in_python


def read(path: Path | str) -> list[Frame]:
    with nothing_left_behind(), open_recording(path) as source:
        assert source.kind == "file"
        return list(source)


def read_until_error(path: Path) -> tuple[list[Frame], str]:
    frames: list[Frame] = []
    with (
        nothing_left_behind(),
        pytest.raises(SourceError) as caught,
        open_recording(path) as source,
    ):
        frames.extend(source)
    return frames, str(caught.value)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "avi"])
def test_every_frame_comes_once_and_in_order(tmp_path: Path, suffix: str) -> None:
    path = str(write_clip(tmp_path / f"a.{suffix}", 40))
    with nothing_left_behind(), open_recording(path) as source:
        assert (source.name, source.fps, source.kind) == (path, FPS, "file")
        assert source.length == (40 if suffix != "ts" else source.length)
        frames = list(source)
    assert [(frame.index, number(frame.image)) for frame in frames] == [(i, i) for i in range(40)]
    assert [frame.pts for frame in frames] == pytest.approx([i / FPS for i in range(40)], abs=1e-3)
    assert {frame.source for frame in frames} == {path}
    assert frames[0].captured_at <= frames[-1].captured_at


def test_times_of_a_variable_rate(tmp_path: Path) -> None:
    shown = [0, 1, 2, 10, 11, 30, 45, 46]
    frames = read(write_clip(tmp_path / "vfr.mp4", gaps=shown))
    assert [frame.pts for frame in frames] == pytest.approx([s / FPS for s in shown], abs=2e-3)


def test_a_stream_without_times_still_has_rising_ones(tmp_path: Path) -> None:
    with open_recording(str(write_clip(tmp_path / "raw.h264", 20))) as source:
        times = [frame.pts for frame in source]
        assert source.fps is not None
        assert times == pytest.approx([i / source.fps for i in range(20)])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_cut_file_gives_what_it_holds_and_then_says_so(tmp_path: Path, suffix: str) -> None:
    path = cut(write_clip(tmp_path / f"cut.{suffix}", 50, faststart=True), 0.6)
    frames, message = read_until_error(path)
    assert 20 < len(frames) < 45
    assert [number(frame.image) for frame in frames[:20]] == list(range(20))
    assert f"{path}: ended after {len(frames)} of 5" in message
    assert message.endswith(" announced frames; the file is truncated or damaged.")


def test_a_file_whose_second_half_is_empty_is_reported(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "holes.mp4", 50, faststart=True)
    size = path.stat().st_size
    cut(path, 0.5)
    os.truncate(path, size)
    frames, message = read_until_error(path)
    assert frames
    assert "truncated or damaged" in message


def test_a_cut_file_without_its_index_cannot_be_decoded(tmp_path: Path) -> None:
    path = cut(write_clip(tmp_path / "cut.mp4", 30), 0.6)
    frames, message = read_until_error(path)
    assert not frames
    size = path.stat().st_size
    assert f"{path}: the file is truncated ({size} of " in message


def test_a_cut_with_an_edit_list_is_no_damage(tmp_path: Path) -> None:
    """Cut at a key frame without coding again, players hide what was not wanted."""
    path = write_clip(tmp_path / "a.mp4", 50)
    trimmed = tmp_path / "trimmed.mp4"
    with av.open(str(path)) as source, av.open(str(trimmed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                # Negative times become an edit list, which hides those frames.
                packet.pts -= packet.pts.__class__(15 / FPS / packet.time_base)
                packet.dts -= packet.dts.__class__(15 / FPS / packet.time_base)
                packet.stream = stream
                target.mux(packet)
    frames = read(trimmed)
    assert len(frames) == 35
    with open_recording(str(trimmed)) as announced:
        assert announced.length == 50


def test_an_estimated_count_is_no_promise(tmp_path: Path) -> None:
    """In Matroska the count comes from the longest track, here the sound."""
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")
        for index in range(20):
            picture.pts = index
            container.mux(video.encode(picture))
        container.mux(video.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 4), np.int16), layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    with open_recording(path) as source:
        assert len(list(source)) == 20


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"these are words\n" * 50, "expected a video.*found a text file"),
        ("text.txt", "Grüße\n".encode("latin-1") * 2000, "expected a video.*found a text file"),
        ("noise.mp4", bytes(range(256)) * 64, "not a video that can be decoded"),
        ("empty.mp4", b"", r"the file is empty \(0 bytes\)"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    frames, said = read_until_error(tmp_path / name)
    assert not frames
    assert re.search(message, said)


def test_failures_are_told_in_our_words_alone(tmp_path: Path) -> None:
    """Neither OpenCV nor FFmpeg writes to the terminal about an expected failure."""
    cut(write_clip(tmp_path / "cut.mp4", 50, faststart=True), 0.6)
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 64)
    script = """
import cv2
from edge.errors import SourceError
from edge.sources import open_source
from edge.sources.live import LiveSource
from edge.sources.policy import ReconnectPolicy
for text in ("cut.mp4", "noise.mp4", "97", "rtsp://joe:hunter2@127.0.0.1:1/x"):
    try:
        with open_source(text, retry=ReconnectPolicy(retries=0)) as source:
            while isinstance(source, LiveSource):
                source.poll()
            list(source)
    except SourceError as error:
        print(error)
"""
    done = in_python(script, cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr == "cut.mp4: 1 damaged frame was skipped\n"
    assert "hunter2" not in done.stdout
