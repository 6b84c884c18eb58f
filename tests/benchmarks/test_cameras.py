"""Cameras as processes: what they send, when, and the trouble that they may be given."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks import cameras
from benchmarks.camera import Picture, Schedule, read_film, write_film
from benchmarks.cameras import AgeSink, CameraProcess, Trouble
from benchmarks.film import KEY_EVERY, Size, draw_stamp, make_film, read_stamp
from edge.types import Evidence, Frame, Image, Result, Verdict
from edge.types import Picture as Drawn
from tests.fakes import grey

TINY = Size("tiny", 64, 384)
FPS, PICTURES = 30.0, 2 * KEY_EVERY
OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer", "analyzeduration": "100000"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film", TINY, FPS, PICTURES)


@pytest.fixture
def process(film: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CameraProcess]:
    monkeypatch.setattr(cameras, "PICTURES", PICTURES)
    with CameraProcess(film, FPS, time.monotonic(), offset=7) as process:
        yield process


def numbers(address: str, count: int) -> list[tuple[int | None, float]]:
    """The numbers in the pictures of a camera, and when each was there."""
    with av.open(address, options=OPTIONS, timeout=(5, 5)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return [
            (read_stamp(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)), time.monotonic())
            for frame in islice(container.decode(video=0), count)
        ]


def test_a_film_is_read_as_it_was_written(tmp_path: Path, film: Path) -> None:
    pictures = [Picture(True, (b"abc", b"")), Picture(False, (b"x" * 1400,)), Picture(False, ())]
    assert read_film(write_film(tmp_path / "film", pictures)) == pictures
    keys = [index for index, picture in enumerate(read_film(film)) if picture.key]
    assert keys == [0, KEY_EVERY]
    with pytest.raises(ValueError, match="multiple of 15 pictures, found 16"):
        make_film(tmp_path / "film", TINY, FPS, 16)


@pytest.mark.parametrize("number", [0, 1, 239, 2**40 - 1])
def test_a_stamp_survives_noise_and_a_flipped_block_is_noticed(number: int) -> None:
    image = grey(90, 64, 384)
    draw_stamp(image, number)
    noise = np.random.default_rng(0).normal(0, 20, image.shape)
    assert read_stamp((image + noise).clip(0, 255).astype(np.uint8)) == number
    image[:16, :16] = 255 - image[:16, :16]
    assert read_stamp(image) is None
    for unmarked in (grey(0, 64, 384), grey(255, 64, 384), grey(0, 20, 384)):
        assert read_stamp(unmarked) is None
    with pytest.raises(ValueError, match="a stamp needs 384×32 pixels"):
        draw_stamp(grey(0, 20, 384), number)


def test_a_schedule_goes_round_its_film() -> None:
    film = [Picture(index % 2 == 0, (bytes([index]),)) for index in range(4)]
    schedule = Schedule(film, fps=10.0, zero_s=100.0, offset=3)
    payloads = [schedule.picture(number).payloads for number in range(3)]
    assert payloads == [(b"\x03",), (b"\x00",), (b"\x01",)]
    assert schedule.due_s(25) == pytest.approx(102.5)
    assert (schedule.next_key(102.45), schedule.next_key(102.51)) == (25, 27)


def test_the_number_in_a_picture_tells_how_old_it_is(process: CameraProcess) -> None:
    found = [(number, at_s) for number, at_s in numbers(process.address, 50) if number is not None]
    assert len(found) >= 45
    assert all((b - a) % PICTURES == 1 for (a, _), (b, _) in pairwise(found[-20:]))
    settled = [process.age_s(number, at_s) for number, at_s in found[-20:]]
    assert 0 < float(np.median(settled)) < 0.3


def test_a_camera_answers_while_it_sends(process: CameraProcess) -> None:
    port = int(process.address.split(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        with client.makefile("rb") as answers:
            client.sendall(b"PLAY rtsp://x/camera RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            client.sendall(b"$\x01\x00\x02hi")  # a report of the client
            client.sendall(b"OPTIONS rtsp://x/camera RTSP/1.0\r\nCSeq: 7\r\n\r\n")
            while b"CSeq: 7" not in (line := answers.readline()):
                assert line
        client.sendall(b"TEARDOWN rtsp://x/camera RTSP/1.0\r\nCSeq: 8\r\n\r\n")
        while client.recv(65536):
            continue


def test_a_camera_comes_back_at_its_address_with_the_same_clock(process: CameraProcess) -> None:
    address = process.address
    process.kill()
    with pytest.raises(av.error.ConnectionRefusedError):
        numbers(address, 1)
    process.start()
    assert process.address == address
    # A busy machine may be late with many, but not with each of them.
    found = numbers(address, 20)
    assert min(process.age_s(number, at_s) for number, at_s in found if number is not None) < 0.5


def test_trouble_kills_and_freezes_and_brings_back(
    process: CameraProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("_REST_S", "_DOWN_S", "_FROZEN_S"):
        monkeypatch.setattr(cameras, pause, (0.0, 0.01))
    deadline = time.monotonic() + 120
    with Trouble([process]) as trouble:
        trouble.wanted(True)
        while set(trouble.counts) != {"killed", "frozen"}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert numbers(process.address, 3)


def scored(image: Image, age_ms: float) -> Result:
    frame = Frame(image, 0, time.time() - age_ms / 1e3, "x")
    return Result(frame, Evidence(0.0), Verdict("real", 0.1), age_ms=age_ms)


def test_a_sink_keeps_true_ages_beside_reported_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.time()
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(time, "time", lambda: now_s)
    sink = AgeSink(CameraProcess(Path("film"), 10.0, 98.0))
    image = grey(0, 64, 384)
    draw_stamp(image, 15)
    sink.write(scored(image, 123.0), Drawn.of(image))
    sink.write(scored(grey(0, 64, 384), 5.0), Drawn.of(image))
    sink.write(Result(Frame(image, 0, 0.0, "x"), None, Verdict("no_signal")), Drawn.of(image))
    assert (sink.scored, sink.unreadable, sink.silent) == (2, 1, 1)
    assert list(sink.reported_ms) == [123.0]
    assert sink.ages_ms[0] == pytest.approx(500, abs=1)
    assert sink.last_s == pytest.approx(100, abs=0.1)
