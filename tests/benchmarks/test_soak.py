from __future__ import annotations

import dataclasses
import json
import socket
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from benchmarks.end_to_end.clips import Size
from benchmarks.end_to_end.stamp import draw_stamp, read_stamp
from benchmarks.results_file import conditions_now
from benchmarks.soak import scenery
from benchmarks.soak.__main__ import main
from benchmarks.soak.camera import Packets, Schedule
from benchmarks.soak.figures import (
    GROWTH_WATCHED_S,
    Bound,
    ages,
    bounds,
    result,
    skip_share,
    usual_path,
)
from benchmarks.soak.film import KEY_EVERY, make_film
from benchmarks.soak.growth import Growth, Held, slope_per_h, warm_up_s
from benchmarks.soak.packed import Picture, read_film, write_film
from benchmarks.soak.run import Seen, Soak, SoakPlan
from benchmarks.soak.scenery import CameraProcess, Trouble
from benchmarks.soak.slow import SlowBackend
from benchmarks.soak.watch import CameraClock, Watch
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.errors import SourceEnded
from edge.live.loop import Camera
from edge.manifest import Calibration
from edge.regions import parse_region
from edge.sources.base import Capture
from edge.sources.live import LiveSource
from edge.types import Evidence, Frame, Result, Verdict
from edge.types import Picture as Drawn
from tests.fakes import FakeBackend, grey
from tests.onnx_files import write_model

TINY = Size("tiny", 64, 384)
FPS = 30.0
PICTURES = 2 * KEY_EVERY
OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer", "analyzeduration": "100000"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film", TINY, FPS, PICTURES)


@pytest.fixture
def process(film: Path) -> Iterator[CameraProcess]:
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


def test_a_film_is_read_as_it_was_written(tmp_path: Path) -> None:
    pictures = [Picture(True, (b"abc", b"")), Picture(False, (b"x" * 1400,)), Picture(False, ())]
    assert read_film(write_film(tmp_path / "film", pictures)) == pictures


def test_a_film_begins_with_a_keyframe_and_has_one_in_each_half_second(film: Path) -> None:
    keys = [index for index, picture in enumerate(read_film(film)) if picture.key]
    assert keys == [0, KEY_EVERY]


def test_a_film_that_would_not_start_over_with_a_keyframe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 15 pictures, found 16"):
        make_film(tmp_path / "film", TINY, FPS, 16)


def test_a_schedule_goes_round_its_film() -> None:
    film = [Picture(index % 2 == 0, (bytes([index]),)) for index in range(4)]
    schedule = Schedule(film, fps=10.0, zero_s=100.0, offset=3)
    assert [schedule.picture(number).payloads for number in range(3)] == [
        (b"\x03",),
        (b"\x00",),
        (b"\x01",),
    ]
    assert schedule.due_s(25) == pytest.approx(102.5)
    assert schedule.next_key(102.45) == 25
    assert schedule.next_key(102.51) == 27


def test_packets_follow_one_another() -> None:
    packets = Packets(FPS)
    data = b"".join(packets.of(Picture(True, (b"ab", b"c")), number) for number in (0, 1))
    found = []
    while data:
        sign, channel, length, _, kind, sequence, stamp, _ = struct.unpack(">cBHBBHII", data[:16])
        assert (sign, channel) == (b"$", 0)
        found.append((kind, sequence, stamp, data[16 : 4 + length]))
        data = data[4 + length :]
    first_sequence, first_stamp = found[0][1:3]
    assert [(kind, payload) for kind, _, _, payload in found] == 2 * [(96, b"ab"), (224, b"c")]
    assert [(n - first_sequence) % 65536 for _, n, _, _ in found] == [0, 1, 2, 3]
    assert [(t - first_stamp) % 2**32 for _, _, t, _ in found] == [0, 0, 3000, 3000]


def test_the_number_in_a_picture_tells_how_old_it_is(process: CameraProcess) -> None:
    found = [(number, at_s) for number, at_s in numbers(process.address, 50) if number is not None]
    assert len(found) >= 45
    assert all((b - a) % PICTURES == 1 for (a, _), (b, _) in pairwise(found[-20:]))
    clock = CameraClock(FPS, process.zero_s, PICTURES, process.offset)
    settled = [clock.age_s(number, at_s) for number, at_s in found[-20:]]
    assert 0 < float(np.median(settled)) < 0.3


def test_a_camera_serves_several_at_once(process: CameraProcess) -> None:
    with av.open(process.address, options=OPTIONS, timeout=(5, 5)) as first:
        assert len(numbers(process.address, 5)) == 5
        assert next(first.decode(video=0)).width == TINY.width


def test_a_camera_answers_while_it_sends(process: CameraProcess) -> None:
    port = int(process.address.split(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        with client.makefile("rb") as answers:
            client.sendall(b"PLAY rtsp://x/camera RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            client.sendall(b"$\x01\x00\x02hi")  # a report of the client
            client.sendall(b"GET_PARAMETER rtsp://x/camera RTSP/1.0\r\nCSeq: 7\r\n\r\n")
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
    number, at_s = numbers(address, 20)[-1]
    clock = CameraClock(FPS, process.zero_s, PICTURES, process.offset)
    assert number is not None and clock.age_s(number, at_s) < 0.5


def test_trouble_kills_and_freezes_and_brings_back(
    process: CameraProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenery, "_REST_S", (0.0, 0.01))
    monkeypatch.setattr(scenery, "_DOWN_S", (0.0, 0.01))
    monkeypatch.setattr(scenery, "_FROZEN_S", (0.0, 0.01))
    deadline = time.monotonic() + 20
    with Trouble([process]) as trouble:
        trouble.wanted(True)
        while set(trouble.counts) != {"killed", "frozen"}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert numbers(process.address, 3)


@pytest.mark.parametrize(
    ("place", "at_s", "age_s"),
    [(0, 10.0, 0.0), (0, 10.5, 0.5), (3, 10.5, 0.2), (99, 10.0, 0.1), (99, 19.95, 0.05)],
)
def test_ages_by_the_clock_of_a_camera(place: int, at_s: float, age_s: float) -> None:
    clock = CameraClock(10.0, 10.0, 100)
    assert clock.age_s(place, at_s) == pytest.approx(age_s, abs=1e-9)
    moved = CameraClock(10.0, 10.0, 100, offset=30)
    assert moved.age_s((place + 30) % 100, at_s) == pytest.approx(age_s, abs=1e-9)


def scored(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], age_ms: float) -> Result:
    frame = Frame(image, 0, time.time() - age_ms / 1e3, "x")
    return Result(frame, Evidence(0.0), Verdict("real", 0.1), age_ms=age_ms)


def test_a_watch_keeps_true_ages_beside_told_ones() -> None:
    watch = Watch(CameraClock(10.0, time.monotonic() - 2.0, 100))
    image = grey(0, 64, 384)
    draw_stamp(image, 15)
    watch.write(scored(image, 123.0), Drawn.of(image))
    watch.write(scored(grey(0, 64, 384), 5.0), Drawn.of(image))
    watch.write(Result(Frame(image, 0, 0.0, "x"), None, Verdict("no_signal")), Drawn.of(image))
    assert (watch.scored, watch.unreadable, watch.silent) == (2, 1, 1)
    assert list(watch.told_ms) == [123.0]
    assert watch.ages_ms[0] == pytest.approx(500, abs=100)
    assert watch.last_s == pytest.approx(time.monotonic(), abs=0.5)


def test_a_slow_backend_takes_its_time_for_each_frame() -> None:
    slow = SlowBackend(FakeBackend(), 0.05)
    began = time.monotonic()
    assert [round(item.logit) for item in slow.infer(np.stack([grey(130), grey(120)]))] == [2, -8]
    assert time.monotonic() - began >= 0.1


def test_a_slope_is_that_of_the_line() -> None:
    at_s = [100.0, 160.0, 220.0, 400.0]
    assert slope_per_h(at_s, [7 + 2 * t / 3600 for t in at_s]) == pytest.approx(2)
    assert slope_per_h([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 1.0, 2.0]) == pytest.approx(3600 / 6)


def test_one_step_is_no_slope_and_stairs_are() -> None:
    at_s = [float(second) for second in range(2000)]
    assert slope_per_h(at_s, [2.8 * (t > 1800) for t in at_s]) == 0
    stairs = [2.8 * (t // 100) for t in at_s]
    assert slope_per_h(at_s, stairs) == pytest.approx(2.8 * 36, rel=0.05)


def test_the_warm_up_does_not_count() -> None:
    growth = Growth()
    assert growth.slope_mb_per_h(0) is None
    held = [growth.note(at_s) for at_s in (0.0, 100.0, 101.0, 102.0)]
    assert all(item.rss_mb > 1 and item.files > 2 and item.threads >= 1 for item in held)
    late = slope_per_h([100.0, 101.0, 102.0], [item.rss_mb for item in held[1:]])
    assert growth.slope_mb_per_h(50.0) == pytest.approx(late)
    assert len(growth.samples_mb(most=2)) == 2
    assert (warm_up_s(600), warm_up_s(30)) == (60, 10)


def never() -> Capture:
    raise SourceEnded("this camera is not opened")


def camera_seen(name: str, scored: int, received: int, last_s: float | None) -> Seen:
    """A camera that a soak saw, with 0, 1, … ms of age."""
    source = LiveSource(name, never)
    detector = Detector(FakeBackend(), parse_region("native"))
    camera = Camera(name, source, detector, VerdictSettings(), Calibration())
    camera.summary.latencies_ms["model"] = deque([300.0, 333.0, 340.0])
    watch = Watch(CameraClock(FPS, 0.0, PICTURES), scored=scored, last_s=last_s)
    watch.ages_ms.extend(range(scored))
    health = dataclasses.replace(source.health(), received=received, reconnects=2)
    return Seen(camera, watch, health)


def made_soak(*seen: Seen, minutes: float = 10.0) -> Soak:
    growth = Growth()
    for at_s in range(0, round(60 * minutes), 10):
        growth.note(at_s)
    return Soak(
        SoakPlan(minutes, cameras=len(seen)),
        list(seen),
        growth,
        elapsed_s=60 * minutes,
        ended_s=1000.0,
        begin=Held(100.0, 20, 9),
        end=Held(100.5, 20, 9),
        faults=Counter(killed=3),
    )


def broken(measured: Soak) -> set[str]:
    return {bound.name for bound in bounds(measured) if not bound.kept}


def test_a_soak_that_keeps_its_bounds() -> None:
    measured = made_soak(camera_seen("door", 600, 18_000, 999.0))
    assert broken(measured) == set()
    assert {bound.name for bound in bounds(measured)} == {
        "age p99",
        "open files at the end",
        "threads at the end",
        "memory growth",
        "longest since a camera was scored, at the end",
    }


def test_a_soak_that_keeps_none() -> None:
    measured = made_soak(camera_seen("door", 900, 18_000, 990.0))
    measured.end = Held(300.0, 21, 10)
    measured.growth = Growing()
    assert broken(measured) == {bound.name for bound in bounds(measured)}


class Growing(Growth):
    def slope_mb_per_h(self, warm_up_s: float) -> float | None:
        return 6.0


def test_a_camera_that_never_gave_a_frame_breaks_its_bounds() -> None:
    assert broken(made_soak(camera_seen("door", 0, 0, None))) >= {
        "age p99",
        "longest since a camera was scored, at the end",
    }


def test_a_short_soak_says_nothing_of_growth() -> None:
    measured = made_soak(camera_seen("door", 60, 1800, 999.0), minutes=1)
    measured.growth = Growing()
    assert GROWTH_WATCHED_S > 60
    assert broken(measured) == set()


@pytest.mark.parametrize(
    ("scored", "apart"),
    [
        ((500, 540), set()),
        ((500, 560), {"scored shares apart, as a ratio"}),
        ((100, 400), {"scored shares apart, as a ratio", "skipped shares apart"}),
        ((0, 400), {"scored shares apart, as a ratio", "skipped shares apart"}),
    ],
)
def test_cameras_that_are_not_served_alike(scored: tuple[int, int], apart: set[str]) -> None:
    seen = [camera_seen(str(count), count, 1000, 999.0) for count in scored]
    assert broken(made_soak(*seen)) == apart


def test_figures_of_a_soak_are_plain_json(tmp_path: Path) -> None:
    measured = made_soak(camera_seen("door", 600, 18_000, 999.0))
    content = json.loads(json.dumps(result(measured, conditions_now()), allow_nan=False))
    assert content["theme"] == "soak" and content["inference_ms"] == 333.0
    assert content["age_ms"] == {"p50": 299.0, "p90": 539.0, "p99": 593.0, "max": 599.0}
    assert content["age_p99_inferences"] == pytest.approx(593 / 333, abs=1e-3)
    (row,) = content["cameras"]
    assert (row["skip_share"], row["reconnects"]) == (pytest.approx(1 - 600 / 18_000, abs=1e-4), 2)
    assert content["faults"] == {"killed": 3}
    assert all(bound["kept"] for bound in content["bounds"])
    named = content | {"time": "2026-11-25T10:00:00+00:00", "commit": "0123456789abcdef-dirty"}
    path = usual_path(named, tmp_path)
    assert path.parent == tmp_path and path.name.startswith("soak_")
    assert path.name.endswith("core_20261125_0123456-dirty.json")


def test_nothing_measured_is_told_as_nothing() -> None:
    empty = Soak(SoakPlan(1.0))
    content = json.loads(json.dumps(result(empty, conditions_now()), allow_nan=False))
    assert content["age_ms"] is None and content["inference_ms"] is None
    assert skip_share(camera_seen("door", 0, 0, None)) is None
    assert ages([]) is None
    assert not Bound("x", None, 1.0, "ms").kept


def run_soak(tmp_path: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    model = write_model(tmp_path / "model.onnx")
    report = tmp_path / "report.json"
    chosen = ["--size", "360p", "--model", str(model), "--report", str(report)]
    code = main([*chosen, *flags])
    return code, json.loads(report.read_text())


def test_a_real_soak_of_a_slow_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, content = run_soak(tmp_path, "--minutes", "0.1", "--slow-ms", "200")
    out = capsys.readouterr()
    assert out.out.strip() == str(tmp_path / "report.json")
    assert "age p99" in out.err
    (row,) = content["cameras"]
    assert row["received"] > 100 and row["unreadable"] == 0
    assert 200 < content["inference_ms"] < 300
    assert content["age_ms"]["p50"] > 200
    assert row["told_age_ms"]["p50"] == pytest.approx(row["age_ms"]["p50"], abs=100)
    assert row["scored"] == pytest.approx(5 * content["elapsed_s"], rel=0.35)
    assert code == (0 if all(bound["kept"] for bound in content["bounds"]) else 1)


def test_a_real_soak_of_three_cameras_with_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenery, "_REST_S", (0.1, 0.2))
    monkeypatch.setattr(scenery, "_DOWN_S", (0.1, 0.2))
    monkeypatch.setattr(scenery, "_FROZEN_S", (0.1, 0.2))
    _, content = run_soak(
        tmp_path, "--minutes", "0.15", "--cameras", "3", "--fps", "15", "--faults"
    )
    assert [row["name"] for row in content["cameras"]] == ["camera-1", "camera-2", "camera-3"]
    assert all(row["scored"] for row in content["cameras"])
    assert sum(content["faults"].values()) > 1
    assert content["config"]["slow_ms"] == 0


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    model, report = write_model(tmp_path / "model.onnx"), tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "60", "--size", "360p"]
    command += ["--model", str(model), "--slow-ms", "50", "--report", str(report)]
    script = (
        "import sys, os, signal, benchmarks.soak.run as run\n"
        "from benchmarks.soak.__main__ import main\n"
        "note = run._note\n"
        "def noted(measured):\n"
        "    note(measured)\n"
        "    if measured.seen[0].watch.scored > 5: os.kill(os.getpid(), signal.SIGINT)\n"
        "run._note = noted\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command[3:]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    content = json.loads(report.read_text())
    assert content["interrupted"] and content["cameras"][0]["scored"] > 5


@pytest.mark.parametrize("flags", [["--minutes", "0"], ["--minutes", "1", "--size", "9p"], []])
def test_wrong_flags_of_a_soak(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(flags)
    assert ended.value.code == 2
