from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patchwatch import main
from tests.onnx_files import write_model
from tests.training.evaluation.test_scorers import write_checkpoint
from tests.training.pictures import write_split
from training.evaluation.summary import read_summary


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_split(folder / "val", per_source=3, seed=0)
    return folder


def test_judging_reporting_and_the_card(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [write_checkpoint(tmp_path / "c.safetensors"), write_model(tmp_path / "m.onnx")]
    out, compact, card = tmp_path / "out", tmp_path / "q.json", tmp_path / "card.md"
    words = ["evaluate", *map(str, models), str(data), "--columns", "JPEG 75,untouched"]
    assert main([*words, "--output", str(out), "--compact", str(compact)]) == 0
    told = capsys.readouterr().out
    assert "6 photographs (camera-a 3, camera-b 3)" in told
    record = json.loads((out / "evaluation.json").read_text())
    assert record["columns"] == ["untouched", "JPEG 75"] and len(record["items"]) == 12
    assert {"report.md", "errors-1.png", "roc.svg"} <= {path.name for path in out.iterdir()}
    before = (out / "report.md").read_text()
    assert main(["evaluate", "--from", str(out / "evaluation.json"), "--output", str(out)]) == 0
    assert (out / "report.md").read_text() == before
    card.write_text("<!-- figures:begin AUC -->\n<!-- figures:end -->\n")
    page = ["evaluate", "--from", str(compact), "--card", str(card)]
    assert main([*page, "--check"]) == 1 and main(page) == 0 and main([*page, "--check"]) == 0
    assert "not those of" in capsys.readouterr().err
    assert read_summary(compact)[0] == read_summary(out / "evaluation.json")[0]


def test_files_that_are_left_out_are_named_whenever_they_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(tmp_path / "val", per_source=2, seed=0)
    (tmp_path / "val/0_real/camera-a/early.png").write_bytes(b"nothing")
    late = tmp_path / "val/1_fake/made-a/1.jpg"
    model = write_model(tmp_path / "m.onnx")
    words = ["evaluate", str(model), str(tmp_path), "--columns", "untouched"]
    assert main(words) == 1  # and keeps in mind that the others are sound
    assert "early.png" in capsys.readouterr().err
    (tmp_path / "val/0_real/camera-a/early.png").unlink()
    times = late.stat()
    late.write_bytes(bytes(times.st_size))
    os.utime(late, ns=(times.st_atime_ns, times.st_mtime_ns))  # breaks after it was looked through
    assert main([*words, "--output", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert str(late) in told.err and "1 files could not be read" in told.out
    assert str(late) in (tmp_path / "out/report.md").read_text()
    assert main(["evaluate", "--from", str(tmp_path / "out/evaluation.json")]) == 1
    assert str(late) in capsys.readouterr().err


def test_nothing_is_written_unless_it_is_asked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(model), str(data), "--columns", "untouched"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "expected either models and folders of data, or --from FILE, found neither"),
        (["tiny-ladeda", "DATA", "--from", "x.json"], 2, "found both"),
        (["tiny-ladeda"], 2, "a folder of labelled files is missing"),
        (["DATA"], 2, "a model is missing"),
        (["tiny-ladeda", "DATA", "--columns", "fog"], 2, "'fog' is no degradation"),
        (["tiny-ladeda", "DATA", "--split", "nope"], 2, "no split 'nope'. Give one of val"),
        (["tiny-ladeda", "DATA", "--check"], 2, "give both"),
        (["tiny-ladeda", "DATA", "--seed", "-1"], 2, "--seed: expected 0 or more"),
        (["tiny-ladeda", "DATA", "--compact", "x.txt"], 2, "ends in .json"),
        (["tiny-ladeda", "DATA", "--output", "FILE"], 1, "is a file"),
        (["--from", "absent.json"], 2, "absent.json cannot be read"),
        (["x.engine", "DATA"], 2, "neither a file nor a shipped model"),
    ],
)
def test_a_mistake_is_one_sentence(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    (tmp_path / "file").write_text("x")
    places = {"DATA": str(data), "FILE": str(tmp_path / "file")}
    assert main(["evaluate", *(places.get(word, word) for word in words)]) == code
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told


@pytest.mark.parametrize("flag", ["--fps 0", "--fps nan", "--workers -1", "--threads 0"])
def test_a_wrong_number_is_wrong_usage(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "tiny-ladeda", ".", *flag.split()])
    assert stopped.value.code == 2 and "expected" in capsys.readouterr().err


def test_the_compact_form_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.training.evaluation.made import made_record
    from training.evaluation.summary import summarise, write_summary

    path = tmp_path / "q.json"
    path.write_text(write_summary(summarise(made_record(), 10)))
    assert main(["evaluate", "--from", str(path), "--output", str(tmp_path / "out")]) == 2
    assert "has no logits" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    write_split(tmp_path / "val", per_source=60, seed=0)
    words = ["evaluate", "tiny-ladeda", str(tmp_path / "val"), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "patchwatch", *words, "--output", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None and "photographs" in process.stderr.readline()
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors and "Traceback" not in errors
    assert not (tmp_path / "out").exists()
