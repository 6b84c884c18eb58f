from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge.errors import SinkError
from edge.sinks.jsonl import JsonLinesSink
from tests.edge.sinks.results import give, make_result


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
