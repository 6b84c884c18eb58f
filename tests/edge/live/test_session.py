from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from patchwatch import main
from tests.edge.live.desktop import Window, desktop
from tests.edge.sources.clips import write_clip
from tests.fakes import wait_for
from tests.onnx_files import write_model
from tests.servers import free_port


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", 60, (96, 64))


@pytest.fixture
def slow_clip(tmp_path: Path) -> Path:
    """Ten frames a second, of which a busy machine need not skip any."""
    return write_clip(tmp_path / "slow.mp4", size_wh=(96, 64), gaps=range(0, 90, 3))


def records(path: Path) -> list[dict[str, Any]]:
    """The whole lines that are there by now."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


class Program:
    """A run in a process of its own, with what it says."""

    def __init__(self, arguments: list[str], output: Path) -> None:
        self._output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "patchwatch", "run", *arguments, "--headless"],
                stdout=subprocess.PIPE,
                stderr=file,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def answer_to_hangup(self) -> str:
        """What it logs once it has read its configuration again."""
        before = self.output
        self.send(signal.SIGHUP)
        wait_for(lambda: self.output.count("\n") > before.count("\n"))
        return self.output.removeprefix(before)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.send(number)
        return self.process.wait(20)


@contextmanager
def program(tmp_path: Path, *arguments: str) -> Iterator[Program]:
    run = Program(list(arguments), tmp_path / "output.txt")
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()
        if run.process.stdout is not None:
            run.process.stdout.close()


def write_config(path: Path, model: str, clip: Path, cameras: str, more: str = "") -> Path:
    part = path.with_suffix(".part")
    part.write_text(
        f"model: {model}\ncapture: {{loop: true}}\nbatch: {{frames: 2}}\n"
        f"output: {{window: false, json_lines: {path.parent / 'all.jsonl'}}}\n{more}\n"
        f"cameras:\n{cameras.replace('CLIP', str(clip))}"
    )
    part.replace(path)
    return path


TWO = "  - {name: door, source: CLIP}\n  - {name: yard, source: CLIP}\n"


def of(lines: Path, source: str) -> list[dict[str, Any]]:
    return [record for record in records(lines) if record["source"] == source]


def test_several_sources_are_cameras_that_share_the_lines_and_have_their_own_videos(
    tmp_path: Path, model: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, video = tmp_path / "all.jsonl", tmp_path / "{camera}.mp4"
    outputs = ["--json", str(lines), "--save", str(video), "--model", model, "--headless"]
    assert main(["run", str(clip), str(clip), *outputs]) == 0
    for name, stem in (("1 clip.mp4", "1-clip"), ("2 clip.mp4", "2-clip")):
        rows = of(lines, name)
        assert len(rows) > 20
        assert all(a["index"] < b["index"] for a, b in pairwise(rows))
        assert all(row["age_ms"] >= 0 for row in rows)
        with av.open(str(tmp_path / f"{stem}.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) > 20
    out = capsys.readouterr().err
    assert "1 clip.mp4" in out and "2 clip.mp4" in out and "skipped" in out


def test_a_camera_that_is_given_up_makes_the_run_fail_and_not_the_others(
    tmp_path: Path, model: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "o.jsonl"
    absent = f"rtsp://joe:hunter2@127.0.0.1:{free_port()}/x"
    flags = ["--retries", "0", "--model", model, "--json", str(lines), "--headless"]
    assert main(["run", absent, str(clip), *flags]) == 1
    assert len(of(lines, "clip.mp4")) > 20
    assert {row["fault"] for row in of(lines, "cam1")} == {"network"}
    assert "hunter2" not in lines.read_text() + capsys.readouterr().err


def test_sighup_restarts_what_changed_and_the_others_go_on(
    tmp_path: Path, model: str, slow_clip: Path
) -> None:
    lines = tmp_path / "all.jsonl"
    config = write_config(tmp_path / "c.yaml", model, slow_clip, TWO)
    with program(tmp_path, "--config", str(config)) as run:
        wait_for(lambda: len(of(lines, "door")) > 8 and len(of(lines, "yard")) > 8)
        changed = "  - {name: door, source: CLIP}\n  - {name: gate, source: CLIP}\n"
        write_config(config, model, slow_clip, changed)
        run.send(signal.SIGHUP)
        wait_for(lambda: len(of(lines, "gate")) > 8)
        assert "gate added; yard removed" in run.output
        write_config(
            config, model, slow_clip, changed.replace("gate,", "gate, region: 'center:32',")
        )
        seen = len(of(lines, "gate"))
        run.send(signal.SIGHUP)
        wait_for(lambda: "gate restarted" in run.output)
        wait_for(lambda: len(of(lines, "gate")) > seen + 8)
        assert run.end() == 143
    door = of(lines, "door")
    steps = [b["index"] - a["index"] for a, b in pairwise(door)]
    # A source that is opened again begins at 0; a busy machine may pass a frame over.
    assert len(door) > 20 and min(steps) >= 1
    assert all(a["pts"] < b["pts"] for a, b in pairwise(door))
    starts = [row for row in of(lines, "gate") if row["index"] == 0]
    assert len(starts) == 2


REJECTED = [
    ("  - {name: door, source: CLIP, reigon: native}\n", "", "Did you mean 'region'"),
    (TWO, "max_frames: 3", "'max_frames' changed, which needs a restart"),
    (TWO + "  - {name: new, source: none.mp4}\n", "", "none.mp4: no such file"),
    (TWO + "  - {name: new, source: CLIP, output: {save: no/such/o.mp4}}\n", "", "no/such"),
    ("  []", "", "it has no cameras"),
]


def test_a_new_configuration_that_cannot_be_applied_is_rejected_and_the_current_one_stays(
    tmp_path: Path, model: str, slow_clip: Path
) -> None:
    lines = tmp_path / "all.jsonl"
    config = write_config(tmp_path / "c.yaml", model, slow_clip, TWO)
    with program(tmp_path, "--config", str(config)) as run:
        wait_for(lambda: len(of(lines, "door")) > 5 and len(of(lines, "yard")) > 5)
        for cameras, more, reason in REJECTED:
            write_config(config, model, slow_clip, cameras, more)
            answer = run.answer_to_hangup()
            assert "is rejected; keeping the current one" in answer
            assert reason in answer and "Traceback" not in answer
        seen = len(of(lines, "yard"))
        wait_for(lambda: len(of(lines, "yard")) > seen + 5)
        assert run.end() == 143
    for name in ("door", "yard"):
        assert min(b["index"] - a["index"] for a, b in pairwise(of(lines, name))) >= 1


def test_the_reader_of_the_lines_may_leave(tmp_path: Path, model: str, clip: Path) -> None:
    arguments = [str(clip), "--loop", "--model", model, "--json", "-"]
    with program(tmp_path, *arguments) as run:
        assert run.process.stdout is not None
        assert json.loads(run.process.stdout.readline())["index"] == 0
        run.process.stdout.close()
        assert run.process.wait(20) == 1
        assert "Traceback" not in run.output


def test_cameras_are_shown_in_one_window_that_obeys_its_keys(
    tmp_path: Path, model: str, slow_clip: Path
) -> None:
    absent = f"rtsp://127.0.0.1:{free_port()}/x"
    config, old = tmp_path / "c.yaml", tmp_path / "garage_20200101-120000_000001.png"
    config.write_text("output: {snapshots_keep_days: 1}")
    old.write_bytes(bytes(100))
    os.utime(old, (0, 0))
    flags = ["--loop", "--model", model, "--snapshots", str(tmp_path), "--config", str(config)]
    command = [sys.executable, "-m", "patchwatch", "run", str(slow_clip), absent, *flags]
    log = tmp_path / "log"
    with desktop() as environment, log.open("w") as out, (tmp_path / "notes").open("w") as err:
        run = subprocess.Popen(command, stdout=out, stderr=err, env=environment, text=True)
        try:
            shown = Window(run, environment, log, tmp_path, "Patchwatch · 2 cameras")
            shown.wait_for(shown.ids, "the window")
            shown.wait_until_painted()
            shown.press("1")
            shown.press("s")
            shown.wait_for(lambda: list(tmp_path.glob(f"{slow_clip.name}_*.png")), "a snapshot")
            shown.wait_for(lambda: not old.exists(), "room for it")
            shown.press("q")
            assert run.wait(20) == 0
        finally:
            run.kill()
            run.wait()
    assert "Traceback" not in (tmp_path / "notes").read_text()


def test_events_are_written_once_for_an_incident(tmp_path: Path, clip: Path) -> None:
    # The clip goes from dark to bright in two seconds, and the model calls what is bright fake.
    model, events = write_model(tmp_path / "m.onnx"), tmp_path / "events"
    config = tmp_path / "c.yaml"
    config.write_text(
        f"source: {clip}\nmodel: {model}\nregion: native\ncapture: {{loop: true}}\n"
        "output: {window: false}\nmax_frames: 150\n"
        "verdict: {window_s: 0.2, min_evidence_s: 0, min_frames: 1}\n"
        f"alerts: {{folder: {events}, debounce_s: 0.2, cooldown_s: 0.5}}\n"
    )
    assert main(["run", "--config", str(config), "--headless"]) == 0
    found = [json.loads(path.read_text()) for path in sorted(events.glob("*.json"))]
    assert 2 <= len(found) <= 3
    assert len({event["id"] for event in found}) == len(found)
    for event in found:
        assert event["state"] == "fake" and event["duration_s"] >= 0.2
        assert (events / event["snapshot"]).stat().st_size > 500
