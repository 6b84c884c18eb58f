from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import pytest

from edge.commands.run import _places
from edge.config import build_config
from edge.sinks.recording import RecordingSink
from edge.types import Frame, Image, Picture, Result, Verdict
from patchwatch import main
from tests.edge.sources.staged import coded, hurt
from tests.fakes import barred
from tests.programs import in_python
from tests.servers import rtsp_server


def write_clip(path: Path, images: list[Image], fps: float = 25.0) -> Path:
    with RecordingSink(path) as video:
        for index, image in enumerate(images):
            frame = Frame(image, index, index / fps, "made", pts=index / fps)
            video.write(Result(frame, None, Verdict("uncertain")), Picture.of(image))
    return path


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video_becomes_lines_an_annotated_video_and_pictures(tmp_path: Path, model: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [barred(240, 120, 160)] * 30)
    lines, video, images = tmp_path / "o.jsonl", tmp_path / "o.mp4", tmp_path / "images"
    outputs = ["--json", str(lines), "--save", str(video), "--images", str(images)]
    assert main(["run", str(clip), "--model", model, "--headless", *outputs]) == 0
    rows = records(lines)
    assert [row["index"] for row in rows] == list(range(30))
    assert rows[-1]["verdict"] == "fake" and rows[-1]["source"] == str(clip)
    stages = rows[0]["latency_ms"]
    assert isinstance(stages, dict)
    assert {"capture", "region", "model", "verdict", "overlay"} <= set(stages)
    assert count_frames(video) == 30
    assert len(list(images.iterdir())) == 30


def test_lines_on_stdout_are_nothing_but_json_and_quiet_says_nothing(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), barred(3))
    assert main(["run", str(picture), "--model", model, "--headless", "--json", "-"]) == 0
    out = capfd.readouterr()
    assert json.loads(out.out)["verdict"] == "real"
    assert "1 frame in" in out.err
    assert main(["run", str(picture), "--model", model, "--headless", "--quiet"]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("clips", [1, 2])
def test_the_end_says_where_the_outputs_are(
    clips: int, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{number}.mp4" for number in range(clips)]
    sources = [str(write_clip(tmp_path / name, [barred(240)] * 12)) for name in names]
    lines, events = str(tmp_path / "o.jsonl"), str(tmp_path / "events")
    outputs = ["--json", lines, "--alerts", events, "--headless"]
    assert main(["run", *sources, "--model", model, *outputs]) == 0
    err = capsys.readouterr().err
    assert f"written: {lines}\n" in err
    assert f"events, a file and a picture of each: {events}\n" in err


def test_a_name_cannot_command_the_terminal(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "a\x1b[2J\x1b]0;title\x07.png"
    cv2.imwrite(str(picture), barred(3))
    assert main(["run", str(picture), "--model", model, "--headless"]) == 0
    err = capfd.readouterr().err
    assert "\x1b" not in err and "a\\x1b[2J\\x1b]0;title\\x07.png" in err


def test_what_c_libraries_print_does_not_come_between_the_lines(tmp_path: Path, model: str) -> None:
    script = f"""
        import os, patchwatch
        from edge.commands import run
        from tests.fakes import FakeSource, barred

        def noisy(text, **more):
            os.write(1, b"GST_ARGUS: Creating output stream\\n")
            return FakeSource([barred(3)])

        run.open_source = noisy
        words = ["run", "csi://0", "--model", {model!r}, "--headless", "--json", "-"]
        code = patchwatch.main(words)
        os.write(1, b"ours again")
        raise SystemExit(code)
    """
    done = in_python(script)
    assert done.returncode == 0, done.stderr
    line, rest = done.stdout.splitlines()
    assert json.loads(line)["verdict"] == "real"
    assert rest == "ours again"
    assert "GST_ARGUS" in done.stderr


def test_flags_override_the_file(tmp_path: Path, model: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [barred(240)] * 9)
    config = tmp_path / "c.yaml"
    config.write_text(f"source: {clip}\nmodel: absent\noutput: {{window: false}}\nmax_frames: 2\n")
    lines = tmp_path / "o.jsonl"
    flags = ["--config", str(config), "--model", model, "--json", str(lines), "--frames", "4"]
    assert main(["run", *flags]) == 0
    assert len(records(lines)) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no source"),
        (["absent.mp4"], 1, "absent.mp4"),
        (["text.mp4"], 1, "text.mp4"),
        (["empty.png"], 1, "empty.png"),
        (["63", "--retries", "0"], 1, "camera 63"),
        (["p.png", "63"], 1, "pictures cannot be watched"),
        (["63", "64", "--save", "o.mp4"], 2, "Put {camera} into its name"),
        (["gopher://x/"], 1, "gopher"),
        (["p.png", "--model", "absent.onnx"], 2, "neither a file nor a shipped model"),
        (["p.png", "--model", "text.mp4"], 1, "not an ONNX model"),
        (["p.png", "--region", "whole"], 2, "Expected native"),
        (["0", "--retries", "-1"], 2, "--retries: expected a number of at least 0, found"),
        (["p.png", "--save", "no/such/folder/o.mp4"], 1, "no/such/folder"),
        (["p.png", "--json", "no/such/folder/o.jsonl"], 1, "no/such/folder"),
        (["p.png", "--config", "absent.yaml"], 2, "absent.yaml"),
        (["p.png", "--config", "typo.yaml"], 2, "Did you mean 'source'"),
        (["one.png"], 1, "1×1"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    model: str,
    arguments: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("p.png", barred(3))
    cv2.imwrite("one.png", barred(3, 1, 1))
    Path("text.mp4").write_text("this is text, not a video\n" * 20)
    Path("empty.png").write_bytes(b"")
    Path("typo.yaml").write_text("sourec: 0")
    chosen = [] if "--model" in arguments else ["--model", model]
    assert main(["run", *arguments, *chosen, "--headless"]) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.strip().splitlines()[-1].startswith("patchwatch: error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_signal_finishes_the_files(
    tmp_path: Path, model: str, number: signal.Signals, code: int
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [barred(i % 256, 240, 320) for i in range(3000)])
    lines, video = tmp_path / "o.jsonl", tmp_path / "o.mp4"
    outputs = ["--json", str(lines), "--save", str(video)]
    run = [sys.executable, "-m", "patchwatch", "run", str(clip), "--model", model, "--headless"]
    child = subprocess.Popen([*run, *outputs], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not lines.exists() or lines.read_text().count("\n") < 20:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    os.kill(child.pid, number)
    _, err = child.communicate(timeout=120)
    assert child.returncode == code
    assert "interrupted" in err and "Traceback" not in err
    written = len(records(lines))
    assert 20 <= written < 3000
    assert written <= count_frames(video) <= written + 1


def test_frames_of_a_real_rtsp_stream_are_scored(tmp_path: Path, model: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [barred(240, 120, 160)] * 75)
    lines, video = tmp_path / "o.jsonl", tmp_path / "o.mp4"
    with rtsp_server(clip, credentials="user:hunter2") as url:
        url = url.replace("rtsp://", "rtsp://user:hunter2@")
        outputs = ["--json", str(lines), "--save", str(video), "--frames", "40"]
        assert main(["run", url, "--model", model, "--headless", *outputs]) == 0
    rows = records(lines)
    assert len(rows) == 40 and rows[-1]["verdict"] == "fake"
    assert all(row["logit"] == pytest.approx(112, abs=4) for row in rows)
    assert "hunter2" not in lines.read_text()
    assert 30 <= count_frames(video) <= 40  # a busy machine may drop some


def test_a_folder_with_a_corrupt_picture_is_watched_and_reported(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), barred(240))
    (folder / "b.png").write_bytes(b"not a picture")
    cv2.imwrite(str(folder / "c.png"), barred(5))
    lines = tmp_path / "o.jsonl"
    assert main(["run", str(folder), "--model", model, "--headless", "--json", str(lines)]) == 1
    assert [row["verdict"] for row in records(lines)] == ["fake", "real"]
    err = capsys.readouterr().err
    assert "b.png" in err and "1 picture could not be read" in err


def test_a_video_with_damage_is_watched_and_reported(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = hurt(coded(30), 13)
    units = [b"\0\0\0\1" + unit for _, picture in pictures for unit in picture]
    (tmp_path / "damaged.h264").write_bytes(b"".join(units))
    lines = tmp_path / "o.jsonl"
    command = ["run", str(tmp_path / "damaged.h264"), "--model", model, "--headless"]
    assert main([*command, "--json", str(lines)]) == 1
    assert len(records(lines)) == 23
    assert "\n7 damaged frames were passed over\n" in capsys.readouterr().err


def test_what_is_sent_is_not_called_written() -> None:
    sinks = {"mqtt": {"host": "broker.local"}, "webhook": {"url": "https://a:b@example.org/hook"}}
    output = {"json_lines": "o.jsonl"}
    config = build_config({"source": "x.mp4", "output": output, "sinks": sinks})
    assert list(_places(config)) == ["written: o.jsonl", "receivers: broker.local, example.org"]
