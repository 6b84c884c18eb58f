from __future__ import annotations

import io
import itertools
import os
import shlex
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
import pytest

from benchmarks.rtsp_sender import SDP, read_headers
from edge.config.parts import CaptureConfig
from edge.errors import (
    AuthError,
    CodecError,
    NetworkError,
    NotFound,
    SourceEnded,
    SourceError,
    SourceTimeout,
)
from edge.sources import decoding, devices, open_source, streams
from edge.sources.base import Shot
from edge.sources.live import LiveSource
from edge.sources.policy import Limits, ReconnectPolicy, RtspTransport
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
from tests.edge.sources.staged import Stage, coded, hurt, over_udp, send_pictures, staged
from tests.fakes import FakeClock, wait_for
from tests.servers import free_port, http_files, mute_server, rtsp_server, tcp_server

PATIENT = Limits(open_s=20, read_s=20)
QUICK = Limits(open_s=0.6, read_s=0.8)
READING = Limits(open_s=20, read_s=0.8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 50)


@contextmanager
def opened(url: str, limits: Limits = PATIENT, decode_threads: int = 1) -> Iterator[StreamCapture]:
    with closing(open_stream(url, limits, name="door", decode_threads=decode_threads)) as capture:
        assert isinstance(capture, StreamCapture)
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
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda shot: number(shot.image()), shots)) == list(range(8))


@pytest.mark.parametrize("stage", ["nothing", "OPTIONS", "DESCRIBE", "SETUP"])
def test_opening_ends_in_time_at_whatever_stage_a_server_falls_silent(stage: Stage) -> None:
    with (
        nothing_left_behind(),
        staged(stage) as url,
        pytest.raises(SourceTimeout, match=r"^door: no answer within 0\.6 s\. Check"),
    ):
        open_stream(url, QUICK, name="door")


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_opening_ends_in_time_where_nobody_ever_answers(scheme: str) -> None:
    with mute_server() as port, pytest.raises(SourceTimeout, match="no answer"):
        open_stream(f"{scheme}://joe:secret@127.0.0.1:{port}/x", QUICK, name="door")


def test_the_limit_is_for_opening_as_a_whole_and_not_for_each_answer() -> None:
    with (
        staged("PLAY", delay_s=0.25) as url,
        pytest.raises(SourceTimeout, match="no answer"),
    ):
        open_stream(url, QUICK, name="door")


def test_a_server_that_plays_and_sends_nothing_is_waited_for_as_any_read() -> None:
    # It may show a picture each five seconds: the first can come long after the connection.
    limits = Limits(open_s=1.5, read_s=0.8)
    no_data = pytest.raises(SourceTimeout, match=r"^door: no data for 0\.8 s\.")
    with staged("PLAY") as url, opened(url, limits) as capture, no_data:
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
        with pytest.raises(SourceTimeout, match=r"^door: no data for 0\.8 s\."):
            capture.read()


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
        assert capture.track.damaged == 0
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
        with pytest.raises(NetworkError, match="was refused"):
            open_stream(f"{scheme}://127.0.0.1:{free_port()}/x", PATIENT, name="door")
        with pytest.raises(NetworkError, match="cannot resolve the host name"):
            open_stream(f"{scheme}://no-such-host.invalid/x", PATIENT, name="door")


@pytest.mark.parametrize(
    ("method", "status", "kind", "words"),
    [
        ("DESCRIBE", "401 Unauthorized", AuthError, "a user and a password are required"),
        ("PLAY", "403 Forbidden", AuthError, "denies this user"),
        ("SETUP", "404 Not Found", NotFound, "no stream at this path"),
        ("SETUP", "461 Unsupported Transport", SourceError, "not offer its stream"),
        ("PLAY", "453 Not Enough Bandwidth", SourceError, r"refuses the stream \(4xx\)"),
        ("DESCRIBE", "503 Service Unavailable", SourceError, "an error of its own"),
    ],
)
def test_an_rtsp_server_that_refuses_is_understood(
    method: str, status: str, kind: type[SourceError], words: str
) -> None:
    with staged("PLAY", refuse=(method, status)) as url, pytest.raises(kind, match=words):
        open_stream(url, PATIENT, name="door")


@pytest.mark.parametrize("transport", ["auto", "udp"])
def test_a_sender_that_knows_udp_alone_is_watched(transport: RtspTransport) -> None:
    with (
        over_udp(coded(10)) as (url, asked),
        closing(open_stream(url, PATIENT, name="door", transport=transport)) as capture,
    ):
        found = [shot for _ in range(12) if (shot := capture.read()) is not None]
        assert asked == (["TCP", "UDP"] if transport == "auto" else ["UDP"])
    levels = {round(float(shot.image().mean())) for shot in found}
    assert len(levels) > 5


def test_a_transport_that_the_sender_refuses_is_named() -> None:
    refused = "does not offer its stream that way"
    with over_udp(coded(3)) as (url, _), pytest.raises(SourceError, match=refused):
        open_stream(url, PATIENT, name="door", transport="tcp")
    with staged("PLAY") as url, pytest.raises(SourceError, match=refused):
        open_stream(url, PATIENT, name="door", transport="udp")


def test_the_transport_comes_from_the_configuration() -> None:
    with over_udp(coded(3)) as (url, asked):
        options = CaptureConfig(rtsp_transport="tcp", retry=ReconnectPolicy(retries=0)).options()
        source = open_source(url, name="door", **options)
        assert isinstance(source, LiveSource)
        with source:
            wait_for(lambda: source.health().state == "failed")
    assert asked == ["TCP"]


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
        _, error = read_all(capture)
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
        assert capture.track.damaged == 1
    assert numbers(shots) == [0, 1]
    assert isinstance(error, SourceEnded)


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
        assert capture.track.damaged == 7
    assert numbers(shots) == [*range(13), *range(20, 30)]
    assert "no data" in str(error)


def test_damage_that_no_keyframe_heals_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "HEAL_S", 0.0)
    pictures = hurt(coded(31, gop=1000), 13)
    with staged("pictures", pictures) as url, opened(url, READING) as capture:
        shots, _ = read_all(capture)
        assert capture.track.damaged == 1
    assert len(shots) == 29


def test_a_stream_of_nothing_but_damage_is_given_up_in_time() -> None:
    def damage(client: socket.socket) -> None:
        send_pictures(client, hurt(pictures, *range(1, 100)), gap_s=0.02)

    pictures = coded(100, gop=1000)
    with staged("PLAY", then=damage) as url, opened(url, READING) as capture:
        shots = [capture.read()]
        with pytest.raises(CodecError, match=r"^door: no intact frame for 0\.8 s\."):
            shots.extend(iter(capture.read, None))
        assert capture.track.damaged > 5
    assert len(shots) < 5


def test_a_stream_that_is_joined_in_the_middle_starts_with_a_whole_picture() -> None:
    with staged("pictures", coded(25)[3:]) as url, opened(url, READING) as capture:
        shots, _ = read_all(capture)
        assert capture.track.damaged == 0
    assert numbers(shots) == list(range(10, 24))


def test_a_stream_without_keyframes_is_shown_as_soon_as_it_is_whole() -> None:
    pictures = coded(100, gop=15, refresh=True)[3:]
    with staged("pictures", pictures) as url, opened(url, READING) as capture:
        shots, _ = read_all(capture)
        assert capture.track.damaged == 0
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


def _segmented(path: Path, seconds: float, muxing: dict[str, str]) -> None:
    pictures = [numbered_image(index) for index in range(round(seconds * FPS))]
    encode(path, pictures, coding=PROMPT | {"g": "30"}, muxing=muxing)


def test_segments_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"hls_segment_filename": "part%d", "hls_playlist_type": "vod"}
    _segmented(tmp_path / "list.m3u8", 2, {"hls_time": "1", **names})
    with http_files(tmp_path) as address, opened(f"{address}/list.m3u8") as capture:
        assert numbers([capture.read() for _ in range(3)]) == [0, 1, 2]


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
    before = len(os.listdir("/proc/self/task"))
    assert numbers(whole) == list(range(50))
    assert len(os.listdir("/proc/self/task")) == before, "frames that are held hold no threads"
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


@pytest.mark.parametrize("loop", [False, True])
def test_a_clip_that_was_cut_is_played_as_far_as_it_goes(tmp_path: Path, loop: bool) -> None:
    path = cut(write_clip(tmp_path / "cut.mkv", 50), 0.5)
    whole = play(path, SleepingClock(), 60, loop)
    assert (len(whole) == 60) is loop
    assert numbers(whole)[:15] == list(range(15))


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


@pytest.mark.parametrize("opens", [True, False])
def test_the_board_decodes_what_it_can_and_pyav_the_rest(
    clip: Path, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    """No GStreamer with NVIDIA's decoder is at hand: its capture is a real one of the clip."""
    asked: list[str] = []

    def capture(pipeline: str, *_: object) -> cv2.VideoCapture:
        asked.append(pipeline)
        return real(str(clip) if opens else "no such file")

    real = cv2.VideoCapture
    monkeypatch.setattr(streams, "_JETSON", clip)
    monkeypatch.setattr(devices, "has_board_decoder", lambda: True)
    monkeypatch.setattr(cv2, "VideoCapture", capture)
    with rtsp_server(clip) as url:
        found = open_stream(url, PATIENT, name="door")
        with closing(found):
            shot = found.read()
        assert shot is not None and shot.pixel_format == ("nv12" if opens else "bgr")
        (pipeline,) = asked
        assert f'location="{url}"' in pipeline and "rtph264depay ! h264parse" in pipeline
        assert "drop=1 max-buffers=1 sync=false" in pipeline


def has_elements(*names: str) -> bool:
    inspect = shutil.which("gst-inspect-1.0")
    return inspect is not None and all(
        subprocess.run([inspect, "--exists", name], check=False).returncode == 0 for name in names
    )


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_pipeline_of_a_stream_runs_with_stand_ins_for_the_elements_of_a_jetson(
    clip: Path, protocol: Literal["tcp", "udp"]
) -> None:
    if not has_elements("rtspsrc", "openh264dec"):
        pytest.skip("needs gstreamer1.0-tools, gstreamer1.0-plugins-good and -bad")
    assert "! rtph265depay ! h265parse !" in devices.rtsp_pipeline("rtsp://door/x", "hevc")
    with rtsp_server(clip) as url:
        text = devices.rtsp_pipeline(url, "h264", protocol)
        assert f"protocols={protocol} " in text
        for jetson, ours in (
            ("nvv4l2decoder", "openh264dec"),
            ("nvvidconv", "videoconvert"),
            ("appsink drop=1 max-buffers=1 sync=false", "fakesink num-buffers=3"),
        ):
            assert jetson in text
            text = text.replace(jetson, ours)
        command = ["gst-launch-1.0", "-v", *shlex.split(text)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "format=(string)NV12" in done.stdout


def test_a_decoder_is_only_asked_for_on_a_jetson_and_errors_stay_pyavs(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_board_decoder", lambda: pytest.fail("this is no Jetson"))
    with rtsp_server(clip) as url, opened(url) as capture:
        assert isinstance(capture, StreamCapture)
    monkeypatch.setattr(streams, "_JETSON", clip)
    monkeypatch.setattr(devices, "has_board_decoder", lambda: True)
    with rtsp_server(clip) as url, pytest.raises(NotFound, match="no stream at this path"):
        open_stream(f"{url}absent", PATIENT, name="door")


@pytest.mark.parametrize(
    "head",
    [
        "Content-Type: image/jpg\r\nContent-Length: {}\r\n",
        "Content-Type: image/jpeg; charset=utf-8\r\nContent-Length: {}\r\n",
        "Content-Length: {}\r\n",
        "",
    ],
)
def test_parts_of_motion_jpeg_may_say_anything_of_themselves(head: str) -> None:
    def talk(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
        )
        for index in range(12):
            picture = jpeg(index)
            lines = f"--f\r\n{head.format(len(picture))}\r\n".encode()
            client.sendall(lines + picture + b"\r\n")

    with tcp_server(talk) as port:
        capture = open_stream(f"http://127.0.0.1:{port}/a", Limits(), name="door")
        try:
            shots = [capture.read() for _ in range(8)]
        finally:
            capture.close()
    assert [number(shot.image()) for shot in shots if shot is not None] == list(range(8))


def test_a_stream_without_parameter_sets_or_keyframe_is_named_for_that() -> None:
    late = [(at_s, units) for at_s, units in coded(24) if all(u[0] & 31 == 1 for u in units)]
    assert len(late) > 10
    missing = pytest.raises(CodecError, match=r"^door: data comes.* 0\.8 s.*SPS, PPS.*keyframe")
    with staged("pictures", late) as url, opened(url, READING) as capture, missing:
        capture.read()


@pytest.mark.parametrize("junk", [b"debug: queue 3 of 8", b"\0\xffnoise\n\n\0"])
def test_junk_between_the_packets_of_rtsp_is_survived_after_the_first_silence(
    junk: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "_silent", set())
    pictures = coded(20)

    class Dirty:
        def __init__(self, client: socket.socket) -> None:
            self.client = client

        def sendall(self, data: bytes) -> None:
            self.client.sendall(data + junk)

    def send(client: socket.socket) -> None:
        send_pictures(Dirty(client), pictures)  # type: ignore[arg-type]
        while client.recv(4096):  # until it is closed
            pass

    with staged("PLAY", then=send) as url:
        with opened(url, READING) as capture:
            assert isinstance(read_all(capture)[1], SourceTimeout)
        with nothing_left_behind(5), opened(url, READING) as capture:
            shots, _ = read_all(capture)
    assert numbers(shots) == list(range(20))[: len(shots)] and len(shots) >= 19
    assert f"door: junk between its packets, such as {junk[:16]!r}, is passed over" in caplog.text


def test_a_camera_that_was_silent_once_is_read_as_before_if_it_sends_no_junk(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rtsp_server(clip) as url:
        monkeypatch.setattr(streams, "_silent", {url})
        with opened(url) as capture:
            assert numbers([capture.read() for _ in range(8)]) == list(range(8))
        wait_for(lambda: not streams._silent, 20)


def test_pictures_that_follow_one_another_without_parts_are_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "_silent", set())
    stopped = threading.Event()

    def send(client: socket.socket) -> None:
        read_headers(client.makefile("rb"))
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/x-motion-jpeg\r\n\r\n")
        for index in itertools.count():
            client.sendall(jpeg(index % 40))
            if stopped.wait(0.05):
                return

    with tcp_server(send) as port:
        url = f"http://127.0.0.1:{port}/stream"
        try:
            with pytest.raises(SourceTimeout):
                open_stream(url, QUICK, name="door")
            with opened(url) as capture:
                found = numbers([capture.read() for _ in range(8)])
                assert capture.read().pts_s is None, "FFmpeg makes times up"
        finally:
            stopped.set()
    assert found == list(range(8))
