from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.errors import SinkError
from edge.sinks.jsonl import JsonLinesSink
from tests.edge.sinks.results import give, make_result

ROOT = Path(__file__).parents[3]


def test_one_object_per_line_readable_while_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLinesSink(path) as sink:
        for index in range(3):
            give(sink, make_result(index=index, source="Küche"))
            lines = path.read_text(encoding="utf-8").splitlines()
            assert [json.loads(line)["index"] for line in lines] == list(range(index + 1))
    assert json.loads(lines[0])["latency_ms"] == {"infer": 1.235}
    assert "Küche" in lines[0]


def test_a_name_that_is_not_utf8_stays_json(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLinesSink(path) as sink:
        give(sink, make_result(source="odd\udcff.png"))
    assert json.loads(path.read_bytes())["source"] == "odd\udcff.png"


def test_an_existing_file_is_replaced_by_the_first_result(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n" * 1000)
    with JsonLinesSink(path) as sink:
        assert path.read_text() == "old\n" * 1000
        give(sink, make_result())
    assert len(path.read_text().splitlines()) == 1


def test_a_run_that_fails_before_its_first_result_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(RuntimeError), JsonLinesSink(path):
        raise RuntimeError
    assert path.read_text() == "old"


def test_a_run_without_results_leaves_no_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
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


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="no folder"), JsonLinesSink(tmp_path / "a" / "b.jsonl"):
        pass


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"pixels")
    with (
        pytest.raises(SinkError, match="is the source itself"),
        JsonLinesSink(photo) as sink,
    ):
        give(sink, make_result(source=str(photo)))
    assert photo.read_bytes() == b"pixels"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a full disk")
def test_a_full_disk_is_said_in_a_sentence() -> None:
    with (
        pytest.raises(SinkError, match="/dev/full cannot be written: the disk is full"),
        JsonLinesSink("/dev/full") as sink,
    ):
        give(sink, make_result())


def test_standard_output_and_a_reader_that_goes() -> None:
    script = (
        "from edge.sinks.jsonl import JsonLinesSink\n"
        "from tests.edge.sinks.results import give, make_result\n"
        "print('before')\n"
        "with JsonLinesSink('-') as sink:\n"
        "    for index in range(100_000):\n"
        "        give(sink, make_result(index=index))\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert run.stdout is not None and run.stderr is not None
    assert run.stdout.readline() == b"before\n"
    assert json.loads(run.stdout.readline())["index"] == 0
    run.stdout.close()
    errors = run.stderr.read()
    run.stderr.close()
    assert run.wait(timeout=20) != 0
    # The command line ends quietly on this error, as `| head` expects.
    assert b"BrokenPipeError" in errors and b"SinkError" not in errors
