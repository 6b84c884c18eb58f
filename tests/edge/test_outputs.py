from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.config import RunConfig, build_config
from edge.errors import UsageError
from edge.files import write_whole
from edge.outputs import claimed_outputs
from tests.edge.sources.clips import jpeg


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that a run reads."""
    monkeypatch.chdir(tmp_path)
    Path("shots").mkdir()
    for name in ("a.mp4", "b.mp4", "cam2.mp4", "shots/z.jpg", "model.onnx", "run.yaml"):
        Path(name).write_bytes(jpeg(0))
    Path("link.jsonl").symlink_to("b.mp4")
    Path("hard.jsonl").hardlink_to("b.mp4")
    Path("loop").symlink_to("shots")
    return tmp_path


def config(*sources: str, **output: object) -> RunConfig:
    cameras = [{"name": f"cam{n}", "source": s} for n, s in enumerate(sources, start=1)]
    one: dict[str, object]
    one = {"source": sources[0]} if len(sources) == 1 else {"cameras": cameras}
    return build_config({**one, "model": "model.onnx", "output": {"overwrite": True, **output}})


@pytest.mark.parametrize(
    ("sources", "output"),
    [
        (["a.mp4", "b.mp4"], {"json_lines": "b.mp4"}),
        (["a.mp4", "b.mp4"], {"json_lines": "a.mp4"}),
        (["a.mp4", "b.mp4"], {"json_lines": "link.jsonl"}),
        (["a.mp4", "b.mp4"], {"json_lines": "hard.jsonl"}),
        (["a.mp4", "b.mp4"], {"json_lines": "shots/../b.mp4"}),
        (["a.mp4", "cam2.mp4"], {"save": "{camera}.mp4"}),
        (["b.mp4"], {"save": "{camera}.mp4"}),
        (["b.mp4"], {"save": "b.mp4"}),
        (["shots"], {"json_lines": "shots/z.jpg"}),
        (["loop"], {"json_lines": "shots/z.jpg"}),
        (["sh*/*.jpg"], {"json_lines": "shots/z.jpg"}),
        (["a.mp4"], {"json_lines": "model.onnx"}),
        (["a.mp4"], {"json_lines": "run.yaml"}),
    ],
)
def test_what_is_read_is_never_overwritten(sources: list[str], output: dict[str, str]) -> None:
    with (
        pytest.raises(UsageError, match=r"is (the model|a source|a file that is read) \("),
        claimed_outputs(config(*sources, **output), [Path("run.yaml")]),
    ):
        pass


@pytest.mark.parametrize("other", ["out.mp4", "./shots/../out.mp4", "dangling"])
def test_two_outputs_are_two_files(other: str) -> None:
    Path("dangling").symlink_to("out.mp4")
    with (
        pytest.raises(UsageError, match="--save and --json both write"),
        claimed_outputs(config("a.mp4", save="out.mp4", json_lines=other)),
    ):
        pass
    assert not Path("out.mp4").exists()


def test_what_exists_is_replaced_only_when_told_to() -> None:
    Path("empty.jsonl").touch()
    Path("lines.jsonl").write_text("{}\n")
    with claimed_outputs(config("a.mp4", overwrite=False, json_lines="empty.jsonl")):
        pass
    with (
        pytest.raises(UsageError, match=r"lines\.jsonl exists already.*--overwrite"),
        claimed_outputs(config("a.mp4", overwrite=False, json_lines="lines.jsonl")),
    ):
        pass
    with claimed_outputs(config("a.mp4", json_lines="lines.jsonl")):
        assert Path("lines.jsonl").read_text() == "{}\n"


def test_cameras_replace_an_earlier_file_of_the_working_folder() -> None:
    Path("lines.jsonl").write_text("{}\n")
    cameras = config("rtsp://one/stream", "rtsp://two/stream", json_lines="lines.jsonl")
    with claimed_outputs(cameras):
        assert Path("lines.jsonl").read_text() == "{}\n"


def test_lines_that_rotate_keep_an_earlier_file_and_need_no_leave() -> None:
    Path("lines.jsonl").write_text("{}\n")
    rotating = {"json_lines": "lines.jsonl", "json_rotate": {"mb": 1}, "overwrite": False}
    for sources in (["a.mp4"], ["rtsp://one/stream", "rtsp://two/stream"]):
        with claimed_outputs(config(*sources, **rotating)):
            pass
    with (
        pytest.raises(UsageError, match="is a source"),
        claimed_outputs(config("a.mp4", **{**rotating, "json_lines": "a.mp4"})),
    ):
        pass


def test_a_report_is_held_like_the_others_and_stays_when_it_is_written() -> None:
    Path("old.html").write_text("<p>")
    with (
        pytest.raises(UsageError, match=r"old\.html exists already"),
        claimed_outputs(config("a.mp4", overwrite=False, report="old.html")),
    ):
        pass
    with claimed_outputs(config("a.mp4", report="new.html")):
        write_whole(Path("new.html"), "<html>")
    assert Path("new.html").read_text() == "<html>"
    with claimed_outputs(config("a.mp4", report="unwritten.html")):
        pass
    assert not Path("unwritten.html").exists()


def test_pipes_and_recordings_that_rotate_are_not_held() -> None:
    os.mkfifo("pipe")
    for output in ({"json_lines": "pipe"}, {"json_lines": "-"}, {"save": "b.mp4", "rotate_s": 60}):
        with claimed_outputs(config("a.mp4", overwrite=False, **output)):
            pass


def test_a_file_is_written_by_one_process_at_a_time() -> None:
    script = (
        "from tests.edge.test_outputs import config\n"
        "from edge.outputs import claimed_outputs\n"
        "with claimed_outputs(config('a.mp4', json_lines='lines.jsonl')): pass\n"
    )
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": root}
    with claimed_outputs(config("a.mp4", json_lines="lines.jsonl")):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "lines.jsonl is in use: another process writes it" in done.stderr
    assert not Path("lines.jsonl").exists(), "what stayed empty is not left behind"
    subprocess.run(command, env=environment, check=True)
