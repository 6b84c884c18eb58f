from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from edge.errors import SinkError
from edge.signals import hangups, stop_signals
from edge.sinks.jsonl import JsonLinesSink, JsonRotation
from edge.sinks.paths import stamped_files
from tests.edge.sinks.results import give, make_result, names


def test_one_object_per_line_readable_while_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n" * 1000)
    with JsonLinesSink(path) as sink:
        assert path.read_text() == "old\n" * 1000
        for index in range(3):
            give(sink, make_result(index=index, source="Küche/odd\udcff.png"))
            lines = path.read_text(encoding="utf-8").splitlines()
            assert [json.loads(line)["index"] for line in lines] == list(range(index + 1))
    first = json.loads(lines[0])
    assert (first["latency_ms"], first["source"]) == ({"infer": 1.235}, "Küche/odd\udcff.png")
    assert "Küche" in lines[0]


def test_a_run_without_results_leaves_no_old_ones_unless_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(RuntimeError), JsonLinesSink(path):
        raise RuntimeError
    assert path.read_text() == "old"
    with JsonLinesSink(path):
        pass
    assert path.read_text() == ""


def test_opened_again_it_goes_on_behind_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    sink = JsonLinesSink(path)
    for index in range(2):
        with pytest.raises(RuntimeError), sink:
            give(sink, make_result(index=index))
            raise RuntimeError
    with sink:
        pass
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 1]


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print("before")
    with JsonLinesSink("-") as sink:
        give(sink, make_result(index=7))
    before, line = capfdbinary.readouterr().out.splitlines()
    assert before == b"before" and json.loads(line)["index"] == 7


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"pixels")
    with pytest.raises(SinkError, match="is the source itself"), JsonLinesSink(photo) as sink:
        give(sink, make_result(source=str(photo)))
    assert photo.read_bytes() == b"pixels"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a full disk")
def test_a_full_disk_is_said_in_a_sentence() -> None:
    with (
        pytest.raises(SinkError, match="/dev/full cannot be written: the disk is full"),
        JsonLinesSink("/dev/full") as sink,
    ):
        give(sink, make_result())


@pytest.mark.parametrize("how", ["create", "copytruncate"])
def test_whoever_rotates_logs_loses_no_line(tmp_path: Path, how: str) -> None:
    path, old = tmp_path / "out.jsonl", tmp_path / "out.jsonl.1"
    with stop_signals(), hangups(lambda: None), JsonLinesSink(path) as sink:
        for index in range(4):
            give(sink, make_result(index=index))
            if index == 1 and how == "create":
                path.rename(old)
                path.touch()
            if index == 2 and how == "create":
                os.kill(os.getpid(), signal.SIGHUP)
            if index == 2 and how == "copytruncate":
                shutil.copy(path, old)
                os.truncate(path, 0)
    parts = [
        [json.loads(line)["index"] for line in p.read_text().splitlines()] for p in (old, path)
    ]
    assert parts == [[0, 1, 2], [3]]


@pytest.mark.parametrize("rotation", [{"mb": 0.0015}, {"every_s": 60.0}], ids=str)
def test_files_of_lines_rotate_by_themselves(
    tmp_path: Path, rotation: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "out.jsonl", [0.0]
    monkeypatch.setattr("edge.sinks.jsonl.time.monotonic", lambda: clock[0])
    path.write_text("of an earlier run\n")
    with JsonLinesSink(path, JsonRotation(**rotation, keep_files=3)) as sink:
        for index in range(40):
            give(sink, make_result(index=index))
            clock[0] += 7
    (first, *others) = stamped_files(path)
    assert len(others) == 2 and "earlier" not in first.read_text()
    files = [*stamped_files(path), path]
    read = [json.loads(line)["index"] for file in files for line in file.read_text().splitlines()]
    assert read == list(range(read[0], 40)) and len(names(tmp_path)) == 4
    assert all(file.stat().st_size < 2500 for file in files)
    with JsonLinesSink(path, JsonRotation(**rotation)) as sink:  # type: ignore[arg-type]
        give(sink, make_result(index=99))
    assert len(stamped_files(path)) == 4 and len(path.read_text().splitlines()) == 1


def test_a_hangup_does_not_put_the_next_file_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "out.jsonl", [0.0]
    monkeypatch.setattr("edge.sinks.jsonl.time.monotonic", lambda: clock[0])
    rotation = JsonRotation(every_s=60)
    with stop_signals(), hangups(lambda: None), JsonLinesSink(path, rotation) as sink:
        for index in range(13):
            give(sink, make_result(index=index))
            os.kill(os.getpid(), signal.SIGHUP)
            clock[0] += 10
    assert len(stamped_files(path)) == 2
