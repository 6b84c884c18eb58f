from __future__ import annotations

import io
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import av
import numpy as np
import pytest
from av.container import InputContainer

from benchmarks.rtsp_sender import SDP
from edge.errors import (
    AuthError,
    CodecError,
    NetworkError,
    NotFound,
    SourceEnded,
    SourceError,
    SourceTimeout,
)
from edge.sources import decoding, streams
from edge.sources.base import Shot
from edge.sources.policy import Limits
from edge.sources.streams import ClipCapture, StreamCapture, is_recording, open_stream
from tests.edge.sources.clips import (
    FPS,
    PROMPT,
    cut,
    encode,
    jpeg,
    nothing_left_behind,
    number,
    numbered,
    numbered_image,
    write_clip,
)
from tests.edge.sources.staged import Stage, coded, hurt, send_pictures, staged
from tests.fakes import FakeClock
from tests.servers import free_port, http_files, mute_server, rtsp_server, tcp_server

PATIENT = Limits(open_s=20, read_s=20)
QUICK = Limits(open_s=0.6, read_s=0.8)
READING = Limits(open_s=20, read_s=0.8)
GRACE_S = Limits().grace_s
"""What a call may take beyond its limit."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 50)


@contextmanager
def opened(url: str, limits: Limits = PATIENT, decode_threads: int = 1) -> Iterator[StreamCapture]:
    with closing(open_stream(url, limits, name="door", decode_threads=decode_threads)) as capture:
        yield capture


def read_all(capture: StreamCapture) -> tuple[list[Shot], SourceError]:
    """What came, and why no more does."""
    shots = []
    while True:
        try:
            shots.append(capture.read())
        except SourceError as error:
            return shots, error


def numbers(shots: Sequence[Shot]) -> list[int]:
    return [number(shot.image()) for shot in shots]


@contextmanager
def fails_in_time(kind: type[SourceError], match: str, limit_s: float) -> Iterator[None]:
    """What is within must fail, and when its limit is over."""
    began_s = time.monotonic()
    with pytest.raises(kind, match=match):
        yield
    assert limit_s <= time.monotonic() - began_s < limit_s + GRACE_S


def test_rtsp_gives_every_frame_with_its_senders_time(clip: Path) -> None:
    with nothing_left_behind(), rtsp_server(clip) as url, opened(url) as capture:
        assert capture.fps == 30.0
        shots = [capture.read() for _ in range(60)]
        capture.close()  # and again
    assert numbers(shots) == [index % 50 for index in range(60)]
    times = [shot.pts_s for shot in shots[1:]]  # FFmpeg gives none to the first
    steps = [b - a for a, b in pairwise(time_s for time_s in times if time_s is not None)]
    assert steps == pytest.approx([1 / 30] * 58, abs=1e-3)
    assert all(a.arrived_s <= b.arrived_s for a, b in pairwise(shots))


def test_a_frame_is_converted_when_it_is_wanted_by_whoever_wants_it(clip: Path) -> None:
    with rtsp_server(clip) as url, opened(url) as capture:
        shots = [capture.read() for _ in range(8)]
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda part: found.append(numbers(part)), args=(part,))
        for part in (shots[:4], shots[4:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_frames_that_are_held_hold_no_threads(clip: Path) -> None:
    capture = ClipCapture(clip, "clip", loop=False, sleep=lambda _: None)
    shots = [capture.read() for _ in range(40)]
    before = len(os.listdir("/proc/self/task"))
    converted = [shot.image() for shot in shots if shot is not None]
    assert len(os.listdir("/proc/self/task")) == before
    assert len(converted) == 40
    capture.close()


def test_more_decoding_threads_give_the_same_frames(clip: Path) -> None:
    with rtsp_server(clip) as url, opened(url, decode_threads=3) as capture:
        assert numbers([capture.read() for _ in range(20)]) == list(range(20))


@pytest.mark.parametrize("stage", ["nothing", "OPTIONS", "DESCRIBE", "SETUP"])
def test_opening_ends_in_time_at_whatever_stage_a_server_falls_silent(stage: Stage) -> None:
    with (
        nothing_left_behind(),
        staged(stage) as url,
        fails_in_time(SourceTimeout, r"^door: no answer within 0\.6 s\. Check", QUICK.open_s),
    ):
        open_stream(url, QUICK, name="door")


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_opening_ends_in_time_where_nobody_ever_answers(scheme: str) -> None:
    with mute_server() as port, fails_in_time(SourceTimeout, "no answer", QUICK.open_s):
        open_stream(f"{scheme}://joe:secret@127.0.0.1:{port}/x", QUICK, name="door")


def test_the_limit_is_for_opening_as_a_whole_and_not_for_each_answer() -> None:
    with (
        staged("PLAY", delay_s=0.25) as url,
        fails_in_time(SourceTimeout, "no answer", QUICK.open_s),
    ):
        open_stream(url, QUICK, name="door")


def test_a_server_that_plays_and_sends_nothing_is_waited_for_as_any_read() -> None:
    # It may show a picture each five seconds: the first can come long after the connection.
    limits = Limits(open_s=1.5, read_s=0.8)
    began_s = time.monotonic()
    with staged("PLAY") as url, opened(url, limits) as capture:
        assert time.monotonic() - began_s < limits.open_s + GRACE_S
        with fails_in_time(SourceTimeout, r"^door: no data for 0\.8 s\.", limits.read_s):
            capture.read()


def _trickle(client: socket.socket) -> None:
    while True:
        client.sendall(b"$")
        time.sleep(0.05)


def _reports(client: socket.socket) -> None:
    while True:
        client.sendall(b"$\1\0\x08" + b"\x80\xc8\0\1abcd")
        time.sleep(0.05)


def _silence(client: socket.socket) -> None:
    client.recv(1 << 20)  # until the client leaves
    client.recv(1 << 20)


@pytest.mark.parametrize("then", [_silence, _trickle, _reports])
def test_reading_ends_in_time_whatever_comes_instead_of_pictures(
    then: Callable[[socket.socket], None],
) -> None:
    with staged("pictures", coded(12), then=then) as url, opened(url, READING) as capture:
        # The parser knows the last picture to be whole only when another one begins.
        assert numbers([capture.read() for _ in range(11)]) == list(range(11))
        with fails_in_time(SourceTimeout, r"^door: no data for 0\.8 s\.", READING.read_s):
            capture.read()
        began_s = time.monotonic()
        capture.close()
        assert time.monotonic() - began_s < 0.5


def _transport_stream(video_s: float, audio_s: float) -> bytes:
    """MPEG-TS whose pictures end before its sound."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.options = {**PROMPT, "g": "10"}
        audio = container.add_stream("mp2", rate=48_000)
        for index in range(round(audio_s * FPS)):
            if index < video_s * FPS:
                container.mux(video.encode(numbered(index)))
            sound = av.AudioFrame.from_ndarray(
                np.zeros((1, 3200), np.int16), format="s16", layout="stereo"
            )
            sound.sample_rate, sound.pts = 48_000, index * 1600
            container.mux(audio.encode(sound))
        container.mux([*video.encode(), *audio.encode()])
    return file.getvalue()


@contextmanager
def slowly(data: bytes, per_s: float, kind: str = "video/mp2t") -> Iterator[str]:
    """Serve bytes over HTTP at a rate and without saying how many."""

    def send(client: socket.socket) -> None:
        client.recv(1 << 16)
        client.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
        for start in range(0, len(data), 1880):
            client.sendall(data[start : start + 1880])
            time.sleep(1880 / per_s)

    with tcp_server(send) as port:
        yield f"http://127.0.0.1:{port}/stream"


def test_sound_does_not_keep_a_dead_picture_alive() -> None:
    data = _transport_stream(1, 60)
    with slowly(data, len(data) / 20) as url, opened(url, READING) as capture:
        shots, error = read_all(capture)
        assert time.monotonic() - shots[-1].arrived_s < READING.read_s + GRACE_S
    assert str(error).startswith("door: no data for 0.8 s.")
    assert len(shots) >= 25


def test_sound_is_not_asked_for_where_it_can_be_left_out() -> None:
    requested: list[str] = []
    audio = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 PCMU/8000\r\na=control:track1\r\n"
    with (
        staged("pictures", coded(2), sdp=SDP + audio, requested=requested) as url,
        opened(url) as capture,
    ):
        capture.read()
    assert requested == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]


def test_a_transport_stream_may_be_joined_anywhere() -> None:
    data = _transport_stream(10, 10)
    with slowly(data[len(data) // 3 + 77 :], len(data) / 2) as url, opened(url) as capture:
        shots = [capture.read() for _ in range(20)]
        assert capture.damaged == 0
    assert shots[0].image().shape == (64, 96, 3)
    steps = {round(b - a, 3) for a, b in pairwise(s.pts_s for s in shots) if a and b}
    assert steps == {0.033, 0.034} or steps == {0.033}


def test_what_is_not_answered_with_a_stream_is_told_for_what_it_is(
    clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("<html>" * 1000)
    with http_files(tmp_path) as address:
        for path, kind in (("none.mp4", NotFound), ("page.html", CodecError)):
            with pytest.raises(kind):
                open_stream(f"{address}/{path}", PATIENT, name="door")
        with pytest.raises(NetworkError, match="TLS handshake failed"):
            open_stream(f"{address.replace('http', 'https')}/x", PATIENT, name="door")
        with pytest.raises(NetworkError, match="does not speak RTSP"):
            open_stream(f"{address.replace('http', 'rtsp')}/x", PATIENT, name="door")
    with rtsp_server(clip) as url, pytest.raises(NotFound, match="no stream at this path"):
        open_stream(f"{url}/other", PATIENT, name="door")
    for scheme in ("rtsp", "http"):
        with fails_in_time(NetworkError, "was refused", 0):
            open_stream(f"{scheme}://127.0.0.1:{free_port()}/x", PATIENT, name="door")
        with pytest.raises(NetworkError, match="cannot resolve the host name"):
            open_stream(f"{scheme}://no-such-host.invalid/x", PATIENT, name="door")


@pytest.mark.parametrize(
    ("method", "status", "kind", "words"),
    [
        ("DESCRIBE", "401 Unauthorized", AuthError, "a user and a password are required"),
        ("PLAY", "403 Forbidden", AuthError, "denies this user"),
        ("SETUP", "404 Not Found", NotFound, "no stream at this path"),
        ("SETUP", "461 Unsupported Transport", SourceError, "over TCP"),
        ("PLAY", "453 Not Enough Bandwidth", SourceError, r"refuses the stream \(4xx\)"),
        ("DESCRIBE", "503 Service Unavailable", SourceError, "an error of its own"),
    ],
)
def test_an_rtsp_server_that_refuses_is_understood(
    method: str, status: str, kind: type[SourceError], words: str
) -> None:
    with staged("PLAY", refuse=(method, status)) as url, pytest.raises(kind, match=words):
        open_stream(url, PATIENT, name="door")


@pytest.mark.parametrize("stage", ["nothing", "OPTIONS", "DESCRIBE", "SETUP"])
def test_a_server_that_hangs_up_before_it_plays_is_a_matter_of_the_network(stage: Stage) -> None:
    with staged(stage, then=lambda _: None) as url, pytest.raises(NetworkError, match=r"^door: "):
        open_stream(url, PATIENT, name="door")


def test_streams_that_cannot_be_decoded_are_told_apart() -> None:
    audio = SDP.replace("m=video", "m=audio").replace("H264/90000", "MPEG4-GENERIC/48000")
    with staged("PLAY", sdp=audio) as url, pytest.raises(CodecError, match="no video track"):
        open_stream(url, PATIENT, name="door")
    with (
        staged("PLAY", sdp=SDP.replace("H264", "X-OWN")) as url,
        pytest.raises(CodecError, match=r"cannot be decoded here.*H\.264"),
    ):
        open_stream(url, Limits(open_s=1.5), name="door")


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_stream_that_ends_gives_all_its_frames_first(clip: Path) -> None:
    with rtsp_server(clip, once=True) as url, opened(url) as capture:
        shots, error = read_all(capture)
        with pytest.raises(SourceEnded):
            capture.read()
    assert numbers(shots) == list(range(50))
    assert (type(error), str(error)) == (SourceEnded, "door: the stream ended.")


@pytest.mark.parametrize("end", [lambda _: None, _reset], ids=["closed", "reset"])
def test_a_sender_that_dies_is_noticed_at_once(end: Callable[[socket.socket], None]) -> None:
    with staged("pictures", coded(12), then=end) as url, opened(url) as capture:
        began_s = time.monotonic()
        _, error = read_all(capture)
        assert time.monotonic() - began_s < 5
    assert isinstance(error, SourceEnded | NetworkError)


def test_a_picture_that_was_cut_with_its_connection_is_not_shown() -> None:
    pictures = [jpeg(index, (640, 480)) for index in range(3)]
    parts = [
        f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
        + picture
        + b"\r\n"
        for picture in pictures
    ]
    data = b"".join(parts)[: -len(pictures[-1]) // 2]
    kind = "multipart/x-mixed-replace;boundary=frame"
    with slowly(data, 1e6, kind) as url, opened(url) as capture:
        shots, error = read_all(capture)
        assert capture.damaged == 1
    assert numbers(shots) == [0, 1]
    assert isinstance(error, SourceEnded)


def test_a_stream_that_has_nothing_yet_is_asked_again(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hesitant(StreamCapture):
        """Its container says at each second try that it has nothing yet."""

        def __init__(self, container: InputContainer, *rest: Any) -> None:
            hesitant = MagicMock(wraps=container, format=container.format)
            tries = iter(range(100))

            def demux() -> Generator[Any, None, None]:
                if next(tries) % 2 == 0:
                    raise av.error.BlockingIOError(11, "Resource temporarily unavailable")
                yield from container.demux()

            hesitant.demux, hesitant.streams = demux, container.streams
            super().__init__(hesitant, *rest)

    monkeypatch.setattr(streams, "StreamCapture", Hesitant)
    with rtsp_server(clip) as url, opened(url) as capture:
        assert numbers([capture.read() for _ in range(10)]) == list(range(10))


def test_credentials_open_the_stream_and_are_shown_nowhere(
    clip: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with rtsp_server(clip, credentials="joe:hunt@2/er") as url:
        good, bad = (url.replace("//", f"//joe:hunt@2%2F{end}@") for end in ("er", "no"))
        with opened(good) as capture:
            assert numbers([capture.read()]) == [0]
        with pytest.raises(AuthError, match="the user or the password is wrong") as wrong:
            open_stream(bad, PATIENT, name="door")
        with pytest.raises(AuthError, match="a user and a password are required") as missing:
            open_stream(url, PATIENT, name="door")
    dead = f"rtsp://joe:hunt@2%2Fer@127.0.0.1:{free_port()}/x"
    with pytest.raises(NetworkError) as refused:
        open_stream(dead, PATIENT, name="door")
    for caught in (wrong, missing, refused):
        # What FFmpeg says holds the address, and a log may show where an error came from.
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
    errors = f"{wrong.value!r} {missing.value!r} {refused.value!r}"
    shown = f"{errors} {capture!r} {caplog.text} {capfd.readouterr()}"
    assert "hunt" not in shown
    assert "joe" not in shown


def test_nothing_is_shown_from_the_first_damage_to_the_next_keyframe() -> None:
    with staged("pictures", hurt(coded(31), 13)) as url, opened(url, READING) as capture:
        shots, error = read_all(capture)
        assert capture.damaged == 7
    assert numbers(shots) == [*range(13), *range(20, 30)]
    assert "no data" in str(error)


def test_damage_that_no_keyframe_heals_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "HEAL_S", 0.0)
    pictures = hurt(coded(31, gop=1000), 13)
    with staged("pictures", pictures) as url, opened(url, READING) as capture:
        shots, _ = read_all(capture)
        assert capture.damaged == 1
    assert len(shots) == 29


def test_a_stream_of_nothing_but_damage_is_given_up_in_time() -> None:
    def damage(client: socket.socket) -> None:
        send_pictures(client, hurt(pictures, *range(1, 100)), gap_s=0.02)

    pictures = coded(100, gop=1000)
    with staged("PLAY", then=damage) as url, opened(url, READING) as capture:
        shots = [capture.read()]
        with fails_in_time(CodecError, r"^door: no intact frame for 0\.8 s\.", READING.read_s):
            shots.extend(iter(capture.read, None))
        assert capture.damaged > 5
    assert len(shots) < 5


def test_a_stream_that_is_joined_in_the_middle_starts_with_a_whole_picture() -> None:
    with staged("pictures", coded(25)[3:]) as url, opened(url, READING) as capture:
        shots, _ = read_all(capture)
        assert capture.damaged == 0
    assert numbers(shots) == list(range(10, 24))


def test_a_stream_without_keyframes_is_shown_as_soon_as_it_is_whole() -> None:
    pictures = coded(100, gop=15, refresh=True)[3:]
    with staged("pictures", pictures) as url, opened(url, READING) as capture:
        shots, _ = read_all(capture)
        assert capture.damaged == 0
    assert len(shots) > 50
    assert numbers(shots[:1])[0] < 40


@pytest.mark.parametrize(
    ("options", "suffix", "recording"),
    [
        ({}, ".mp4", True),
        ({"movflags": "frag_keyframe+empty_moov"}, ".mp4", True),
        ({}, ".ts", True),
        ({}, ".mkv", True),
        ({"hls_time": "1", "hls_playlist_type": "vod"}, ".m3u8", True),
        ({"hls_time": "1", "hls_flags": "omit_endlist"}, ".m3u8", False),
    ],
)
def test_a_recording_is_told_from_a_stream(
    tmp_path: Path, options: dict[str, str], suffix: str, recording: bool
) -> None:
    _segmented(tmp_path / f"film{suffix}", 3, options)
    with nothing_left_behind(), http_files(tmp_path) as address:
        assert is_recording(f"{address}/film{suffix}", PATIENT, "door") is recording
        with opened(f"{address}/film{suffix}") as capture:
            assert numbers([capture.read() for _ in range(3)]) == [0, 1, 2]


def test_what_goes_on_is_no_recording() -> None:
    data = _transport_stream(2, 2)
    with slowly(data, len(data)) as url:
        assert is_recording(url, PATIENT, "door") is False


def _segmented(path: Path, seconds: float, muxing: dict[str, str]) -> None:
    pictures = [numbered_image(index) for index in range(round(seconds * FPS))]
    encode(path, pictures, coding=PROMPT | {"g": "30"}, muxing=muxing)


def test_a_stream_in_segments_is_played_at_its_own_speed(tmp_path: Path) -> None:
    _segmented(tmp_path / "live.m3u8", 3, {"hls_time": "1", "hls_flags": "omit_endlist"})
    with http_files(tmp_path) as address, opened(f"{address}/live.m3u8") as capture:
        shots = [capture.read() for _ in range(60)]
    # All three segments lay there at once.
    assert shots[-1].arrived_s - shots[0].arrived_s >= 58 / 30
    assert numbers(shots) == [index % 50 for index in range(60)]


class SleepingClock(FakeClock):
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.pass_s(seconds)


def play(path: Path, clock: SleepingClock, count: int, loop: bool = False) -> list[Shot]:
    """Frames until there are so many, or the clip ends."""
    capture = ClipCapture(path, "clip", loop=loop, sleep=clock.sleep, now=clock.now)
    shots = [shot for _ in range(count) if (shot := capture.read()) is not None]
    capture.close()
    capture.close()
    return shots


def test_a_clip_is_played_at_its_own_speed(clip: Path) -> None:
    clock = SleepingClock()
    with nothing_left_behind():
        whole = play(clip, clock, 51)
    assert numbers(whole) == list(range(50))
    assert [shot.arrived_s - 100 for shot in whole] == pytest.approx([i / 30 for i in range(50)])
    assert [shot.pts_s for shot in whole] == pytest.approx([i / 30 for i in range(50)], abs=1e-3)


def test_a_clip_in_a_loop_goes_on_and_its_time_too(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "short.mp4", 4)
    clock = SleepingClock()
    with nothing_left_behind():
        whole = play(path, clock, 11, loop=True)
    assert numbers(whole) == [0, 1, 2, 3] * 2 + [0, 1, 2]
    assert [shot.pts_s for shot in whole] == pytest.approx([i / 30 for i in range(11)], abs=1e-3)
    assert clock.now() - 100 == pytest.approx(10 / 30, abs=1e-3)


def test_a_pause_of_a_clip_is_kept_unless_it_is_long(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "gaps.mp4", gaps=[0, 60, 61, 361])
    clock = SleepingClock()
    whole = play(path, clock, 4)
    assert clock.slept == pytest.approx([2, 1 / 30], abs=1e-3)
    assert [shot.pts_s for shot in whole] == pytest.approx([0, 2, 61 / 30, 361 / 30], abs=1e-3)


def test_a_clip_does_not_hurry_after_its_reader_was_held_up(clip: Path) -> None:
    clock = SleepingClock()
    capture = ClipCapture(clip, "clip", loop=False, sleep=clock.sleep, now=clock.now)
    capture.read()
    clock.pass_s(5)
    clock.slept.clear()
    for _ in range(11):
        capture.read()
    assert clock.slept == pytest.approx([1 / 30] * 10, abs=1e-3)
    capture.close()


@pytest.mark.parametrize("loop", [False, True])
def test_a_clip_that_was_cut_is_played_as_far_as_it_goes(tmp_path: Path, loop: bool) -> None:
    path = cut(write_clip(tmp_path / "cut.mkv", 50), 0.5)
    whole = play(path, SleepingClock(), 60, loop)
    assert (len(whole) == 60) is loop
    assert numbers(whole)[:15] == list(range(15))


@pytest.mark.parametrize("content", [b"\0" * 5000, b"#EXTM3U\n#EXTINF:1,\nclip.ts\n"])
def test_what_is_no_clip(tmp_path: Path, content: bytes) -> None:
    _segmented(tmp_path / "clip.ts", 0.2, {})
    (tmp_path / "list.m3u8").write_bytes(content)
    with nothing_left_behind(), pytest.raises(CodecError, match=r"clip: (not a vid|expected)"):
        ClipCapture(tmp_path / "list.m3u8", "clip", loop=True)


def test_a_clip_that_went_away_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="clip: no such file"):
        ClipCapture(tmp_path / "none.mp4", "clip", loop=False)
    path = write_clip(tmp_path / "short.mp4", 3)
    capture = ClipCapture(path, "clip", loop=True, sleep=lambda _: None)
    for _ in range(3):
        capture.read()
    path.unlink()
    with pytest.raises(NotFound):
        capture.read()
    capture.close()
