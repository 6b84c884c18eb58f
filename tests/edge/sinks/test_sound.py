"""Sound goes with the annotated pictures, in time with them, or its loss is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from edge.sinks.sound import sound_of
from edge.sinks.video import close_left_open
from patchwatch import main

FPS, RATE, STEP = 10, 48_000, 480


def film(path: Path, codec: str, seconds: int = 4) -> Path:
    """Pictures, and a tone in each odd second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = cast(AudioStream, container.add_stream(codec, rate=RATE))
        audio.layout = "mono"
        for number in range(seconds * FPS):
            picture = np.full((64, 96, 3), number, np.uint8)
            shown = av.VideoFrame.from_ndarray(picture, format="rgb24")
            shown.pts, shown.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(shown))
            for first in range(number * RATE // FPS, (number + 1) * RATE // FPS, STEP):
                tone = np.sin(np.arange(first, first + STEP) * 0.2) * 12_000
                values = (tone * (first // RATE % 2)).astype(np.int16)[None]
                heard = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
                heard.sample_rate, heard.pts, heard.time_base = RATE, first, Fraction(1, RATE)
                container.mux(audio.encode(heard))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))
    return path


def loudness(path: Path) -> list[int]:
    """Per half second of a file whether there is a tone, 0 or 1; [] without sound."""
    loud: dict[int, list[float]] = {}
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        for frame in container.decode(audio=0):
            for place, value in enumerate(np.abs(frame.to_ndarray().astype(np.float64)).ravel()):
                at_s = float(frame.time or 0) + place / RATE
                if 0.1 < at_s % 0.5 < 0.4:  # away from where it changes
                    loud.setdefault(int(2 * at_s), []).append(value)
    top = max(max(values) for values in loud.values())
    return [int(float(np.mean(loud[half])) > top / 5) for half in sorted(loud)]


@pytest.mark.parametrize(("codec", "to"), [("aac", ".mp4"), ("aac", ".mkv"), ("pcm_s16le", ".mkv")])
def test_the_sound_of_a_file_is_copied(tmp_path: Path, codec: str, to: str) -> None:
    source, saved = film(tmp_path / "film.mkv", codec), tmp_path / f"out{to}"
    run(source, "--save", str(saved))
    assert loudness(saved) == [0, 0, 1, 1, 0, 0, 1, 1]
    with av.open(str(saved)) as container:
        assert container.streams.audio[0].codec_context.name == codec


def run(source: Path, *flags: str) -> None:
    assert main(["run", str(source), "--headless", "--model", "tiny-ladeda", *flags]) == 0


def test_a_part_of_a_file_has_the_sound_of_that_part(tmp_path: Path) -> None:
    source, saved = film(tmp_path / "film.mp4", "aac"), tmp_path / "out.mp4"
    run(source, "--save", str(saved), "--seconds", "1.5-3.5")
    assert loudness(saved) == [1, 0, 0, 1]


def test_sound_that_a_container_cannot_hold_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, saved = film(tmp_path / "film.mkv", "wavpack"), tmp_path / "out.mp4"
    run(source, "--save", str(saved))
    assert capsys.readouterr().err.count("its sound (wavpack) cannot be copied into .mp4") == 1
    assert loudness(saved) == []


def test_the_loss_of_a_streams_sound_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert sound_of("rtsp://joe:secret@host/x", None) is None
    assert sound_of("/dev/video0", None) is None
    (message,) = caplog.messages
    assert "not its sound" in message and "secret" not in message


def test_a_recording_left_open_keeps_its_sound(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", "aac")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89")  # the length, which is written at the end
    data[at : at + 2] = b"\xec\x89"  # becomes a void element of the same size
    path.write_bytes(data)
    close_left_open(path)
    assert loudness(path) == [0, 0, 1, 1, 0, 0, 1, 1]
