"""Archives with processes: tables, going on, stores, long videos, workers that die."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from edge.archive import _describe
from edge.archive.engines import Processes, run_each
from edge.archive.items import Item, Scorer
from edge.config import RunConfig, override
from patchwatch import main
from tests.edge.archive.deadly import Deadly
from tests.edge.sources.clips import encode
from tests.fakes import barred, wait_for
from tests.servers import Gate, free_port, http_files

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'patchwatch[archive]'")
FLAGS = ["score", "--no-provenance", "--backend", "onnxruntime"]
PROGRAM = [sys.executable, "-m", "patchwatch", *FLAGS]

EAGER = """
import sys, patchwatch
from edge.archive import output
output.FLUSH_S = 0.2
sys.exit(patchwatch.main(sys.argv[1:]))
"""
"""The same program, which writes rows sooner."""


def tables(output: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows of both tables by their sources, each of which is in them once."""
    import pyarrow.dataset as ds

    found = []
    for name in ("scores", "errors"):
        folder = output / name
        rows = []
        if folder.is_dir():
            rows = ds.dataset(folder, partitioning="hive").to_table().to_pylist()
        assert len({row["source"] for row in rows}) == len(rows)
        found.append({row["source"]: row for row in rows})
    assert not set(found[0]) & set(found[1])
    return found[0], found[1]


def counted(said: str) -> dict[str, int]:
    """The numbers in the line that sums a run up."""
    match = re.search(r"^\d+ files: (.*)$", said, re.MULTILINE)
    assert match is not None, said
    pairs = (part.split() for part in match[1].split(", "))
    return {name: int(count) for count, name in pairs}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for level in (5, 80, 160, 250):
        cv2.imwrite(str(folder / "deep" / f"{level}.png"), barred(level))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    return folder


Score = Callable[..., str]


@pytest.fixture
def score(model: str, capsys: pytest.CaptureFixture[str]) -> Score:
    """Scores paths in one process of its own; gives what was said."""

    def score(*words: object, code: int = 0) -> str:
        flags = ["--model", model, "--backend", "onnxruntime", "--workers", "1"]
        assert main(["score", *map(str, words), *flags]) == code
        return capsys.readouterr().err

    return score


def test_the_tables_have_each_file_once_and_the_next_run_goes_on(
    tmp_path: Path, pictures: Path, score: Score, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    said = score(pictures, "--output", out, code=1)
    assert counted(said) == {"real": 2, "fake": 2, "failed": 1}
    scores, errors = tables(out)
    assert {Path(name).name for name in errors} == {"broken.jpg"}
    for name, row in scores.items():
        data = Path(name).read_bytes()
        assert (row["sha256"], row["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    main(["score", str(pictures), "--format", "json", "--model", str(tmp_path / "model.onnx")])
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        if line["error"] is None:
            row = scores[line["source"]]
            assert all(row[key] == line[key] for key in ("verdict", "score", "logit", "frames"))
    cv2.imwrite(str(pictures / "new.png"), barred(30))
    (out / "scores" / "README.txt").write_text("of somebody else")
    (pictures / "names.txt").write_text(f"{pictures / 'new.png'}\n\n{pictures}\n")
    said = score("--list", pictures / "names.txt", "--output", out, code=1)
    assert counted(said) == {"skipped": 4, "real": 1, "failed": 1}
    (out / "scores" / "README.txt").unlink()
    assert len(tables(out)[0]) == 5 and len(tables(out)[1]) == 1
    said = score(pictures, "--output", out, "--threshold", "0.9", code=2)
    assert "what differs is verdict in run.json" in said
    (out / "run.json").write_text("[1]")
    assert "its run.json is of something else" in score(pictures, "--output", out, code=2)


def test_what_failed_is_tried_again_and_is_in_one_table(
    tmp_path: Path, pictures: Path, score: Score
) -> None:
    out, late = tmp_path / "out", pictures / "late.png"
    late.write_bytes(b"")
    said = score(pictures, "--output", out, code=1)
    assert counted(said) == {"real": 2, "fake": 2, "failed": 2} and "failed before" not in said
    cv2.imwrite(str(late), barred(30))
    said = score(pictures, "--output", out, code=1)
    assert counted(said) == {"skipped": 4, "real": 1, "failed": 1}
    assert "2 in " in said and "2 of which failed before" in said
    scores, errors = tables(out)  # holds that no source is in them twice
    assert str(late) in scores and list(errors) == [str(pictures / "broken.jpg")]
    (pictures / "broken.jpg").unlink()
    assert counted(score(pictures, "--output", out)) == {"skipped": 5}
    assert list(tables(out)[1]) == [str(pictures / "broken.jpg")]


def test_scores_of_two_models_for_faces_are_kept_apart(tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        (tmp_path / name).write_text(name)
    described = [
        _describe(override(RunConfig(), {"faces.rate": 9.0, "faces.model": str(tmp_path / name)}))
        for name in ("one.onnx", "two.onnx")
    ]
    assert described[0]["models"]["faces"] != described[1]["models"]["faces"]


def test_an_odd_fault_of_one_file_ends_no_archive(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("edge.archive.items.score_file", odd)
    config = override(RunConfig(), {"model": model, "backend.name": "onnxruntime"})
    cv2.imwrite(str(tmp_path / "a.png"), barred(5))
    (scored,) = Scorer(config)([Item("a.png", str(tmp_path / "a.png"))])
    assert scored.found.error == "a.png: MemoryError: no room"


def test_the_same_name_in_another_folder_is_another_file(
    tmp_path: Path, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, level in (("one", 5), ("two", 250)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), barred(level))
        monkeypatch.chdir(tmp_path / name)
        assert "1 file: 1 " in score(".", "--output", "../out")
    scores = tables(tmp_path / "out")[0]
    assert {name: row["verdict"] for name, row in scores.items()} == {
        str(tmp_path / "one" / "a.png"): "real",
        str(tmp_path / "two" / "a.png"): "fake",
    }
    assert "1 skipped" in score(tmp_path / "one", "--output", tmp_path / "out")


def test_a_long_video_is_split_and_judged_as_a_whole(tmp_path: Path, score: Score) -> None:
    levels = [5] * 60 + [250] * 30 + [5] * 37
    clip = encode(tmp_path / "clip.mp4", [barred(level) for level in levels], fps=5)
    for name, seconds in (("whole", 300), ("parts", 4)):
        score(clip, "--output", tmp_path / name, "--split", seconds)
    whole, parts = (tables(tmp_path / name)[0][str(clip)] for name in ("whole", "parts"))
    assert whole["frames"] == 127 and whole["verdict"] == "fake" and len(whole["stretches"]) == 1
    for key in ("sha256", "frames", "verdict", "seconds", "fake_share", "stretches", "worst"):
        assert parts[key] == whole[key], key
    assert parts["logit"] == pytest.approx(whole["logit"])


def test_a_cut_video_says_so_in_parts_too(tmp_path: Path, score: Score) -> None:
    clip = encode(tmp_path / "clip.mkv", [barred(5)] * 100, fps=5)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    score(clip, "--output", tmp_path / "out", "--split", 4, code=1)
    scores, errors = tables(tmp_path / "out")
    assert "truncated or damaged" in str({**scores, **errors}[str(clip)]["error"])


def test_what_is_missing_or_wrong_is_one_sentence(
    tmp_path: Path, pictures: Path, score: Score, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "--output DIR" in score(pictures, "--ray", code=2)
    assert "Leave --format out" in score(pictures, "--output", out, "--format", "csv", code=2)
    words = ["score", str(pictures), "--split", "4"]
    assert main(words) == 2 and "--output DIR" in capsys.readouterr().err
    assert "no store is known" in score("nosuch://x/y", "--output", out, code=2)
    assert "pip install gcsfs" in score("gs://bucket/x", "--output", out, code=1)
    (tmp_path / "file").write_text("")
    assert "file" in score(pictures, "--output", tmp_path / "file", code=1)
    assert "found an empty text" in score(pictures, "--output", "", code=2)
    said = score(pictures, "--output", f"ftp://joe:secret@127.0.0.1:{free_port()}/x", code=1)
    assert "the store cannot be reached" in said and "refused" in said and "secret" not in said
    gone = f"http://joe:secret@127.0.0.1:{free_port()}/x.png"
    score(gone, "--output", out, code=1)
    ((name, row),) = tables(out)[1].items()
    assert "secret" not in str((name, row)) and "Connect call failed" in row["error"]
    said = score(gone, gone.replace("secret", "other"), "--output", out, code=2)
    assert "different logins or tokens" in said and "secret" not in said
    with http_files(pictures) as url:
        score(f"{url}/gone.png?token=secret", "--output", tmp_path / "more", code=1)
    ((name, row),) = tables(tmp_path / "more")[1].items()
    assert "secret" not in str((name, row)) and "404" in row["error"]


@contextmanager
def s3() -> Iterator[Any]:
    """moto's server on loopback, and a file system on it; the environment names it to all."""
    moto = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[server]'")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs: pip install 'patchwatch[archive]'")
    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            patch.setenv(f"AWS_{name}", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield s3fs.S3FileSystem(skip_instance_cache=True)
    server.stop()


def test_a_store_is_source_and_target(tmp_path: Path, pictures: Path, model: str) -> None:
    encode(pictures / "clip.mp4", [barred(250)] * 50, fps=5)
    with s3() as store:
        store.mkdir("archive")
        store.put(str(pictures), "archive/in", recursive=True)
        words = [*PROGRAM, "s3://archive/in", "s3://archive/in/gone.png", "--output"]
        words += ["s3://archive/out", "--workers", "1", "--split", "4", "--model", model]
        first, second = (
            subprocess.run(words, capture_output=True, text=True, check=False) for _ in range(2)
        )
        store.invalidate_cache()
        store.get("archive/out", str(tmp_path / "out"), recursive=True)
    assert counted(first.stderr) == {"fake": 3, "real": 2, "failed": 2}
    assert counted(second.stderr) == {"skipped": 5, "failed": 2}
    scores, errors = tables(tmp_path / "out")
    assert scores["s3://archive/in/clip.mp4"]["frames"] == 50
    data = (pictures / "deep" / "250.png").read_bytes()
    assert scores["s3://archive/in/deep/250.png"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert "cannot be fetched" in errors["s3://archive/in/gone.png"]["error"]
    assert "/tmp" not in str(errors["s3://archive/in/broken.jpg"]["error"])


def test_killing_the_driver_costs_nothing_that_is_written(
    tmp_path: Path, pictures: Path, model: str
) -> None:
    out = tmp_path / "out"
    with Gate((pictures / "deep" / "80.png").read_bytes()) as gate:
        words = [sys.executable, "-c", EAGER, *FLAGS, str(pictures)]
        words += [f"{gate.address}/held.png", "--output", str(out)]
        words += ["--workers", "2", "--model", model]
        with subprocess.Popen(words, stderr=subprocess.PIPE) as driver:
            wait_for(lambda: gate.asked and list(out.glob("errors/*")), 120)
            wait_for(lambda: len(tables(out)[0]) == 4, 120)
            workers = psutil.Process(driver.pid).children(recursive=True)
            driver.kill()
        wait_for(lambda: not any(map(psutil.Process.is_running, workers)), 60)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("scores/**/*.parquet")}
        gate.open()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert counted(done.stderr) == {"skipped": 4, "real": 1, "failed": 1}
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    scores, errors = tables(out)
    assert (len(scores), len(errors)) == (5, 1)


def test_a_worker_that_dies_costs_no_item_but_the_one_that_kills(tmp_path: Path) -> None:
    batches = [[0, 1], [-2, 2], [-1, 3], [4]]
    task: Callable[[], Deadly] = partial(Deadly, tmp_path)
    found: list[tuple[int, Any]] = [*run_each(Processes(2), task, batches)]
    assert dict(found) == {-2: -2, -1: None, 0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
