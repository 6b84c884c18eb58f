from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

import patchwatch
from edge.errors import ConfigError, SinkError, UsageError
from tests.training import fake_search
from tests.training.faces.face_sets import write_faces
from tests.training.fake_search import EPOCHS, HOLD, search, words, write_search
from tests.training.postgres import PASSWORD, QUOTED, postgres
from training.faces.config import FacesConfig
from training.faces.sets import load_set
from training.models import resnet18
from training.search import (
    ERROR,
    STARTED,
    Objective,
    corners,
    load_search_config,
    open_storage,
    open_study,
    parse_address,
    parse_range,
    set_digest,
    with_values,
)
from training.settings import Machine

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 90


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/search.db"


def trials_of(url: str, study: str = "faces") -> list[FrozenTrial]:
    with open_storage(parse_address(url)) as storage:
        return optuna.load_study(study_name=study, storage=storage).get_trials()


def finished(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def begin(folder: Path, storage: str, hold: str = "") -> subprocess.Popen[str]:
    """A search in a process group of its own, as a terminal gives it."""
    return subprocess.Popen(
        [sys.executable, "-m", fake_search.__name__, *words(folder, storage, "--threads", "1")],
        cwd=ROOT,
        env=os.environ | {HOLD: hold},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_search(tmp_path, trials=5)
    with begin(tmp_path, url_of(tmp_path), hold="trial-0002") as process:
        wait_until((tmp_path / "runs" / "held").exists, process)
        process.kill()
        process.communicate()
    before = trials_of(url_of(tmp_path))
    assert [t.state.name for t in before] == ["COMPLETE", "COMPLETE", "RUNNING"]
    time.sleep(3)  # until the killed process is missed

    assert search(words(tmp_path, url_of(tmp_path))) == 0
    after = trials_of(url_of(tmp_path))
    assert len(finished(after)) == 5 and after[2].state == TrialState.FAIL
    assert [(t.values, t.params) for t in after[:2]] == [(t.values, t.params) for t in before[:2]]
    (again,) = [t for t in after if t.system_attrs.get("failed_trial") == 2]
    assert again.state == TrialState.COMPLETE and again.params == before[2].params
    # It went on after the second epoch, in the folder of the one that was killed.
    epochs = json.loads((tmp_path / "runs" / "trial-0002" / "epochs.json").read_text())
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4]
    assert epochs[1][1] == process.pid and epochs[2][1] == os.getpid()
    assert sorted(again.intermediate_values) == [1, 2, 3, 4]
    said = capsys.readouterr()
    assert "2 trials were finished before" in said.err and said.out.count("complete") == 5


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once_and_keeps_the_trial_for_later(tmp_path: Path) -> None:
    write_search(tmp_path)
    with begin(tmp_path, url_of(tmp_path), hold="trial-0001") as process:
        wait_until((tmp_path / "runs" / "held").exists, process)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "The same command goes on" in err and "Traceback" not in err
    first, stopped, waiting = trials_of(url_of(tmp_path))
    assert first.state == TrialState.COMPLETE and stopped.state == TrialState.FAIL
    assert waiting.state == TrialState.WAITING and waiting.params == stopped.params
    assert waiting.intermediate_values == stopped.intermediate_values


@pytest.mark.slow
def test_two_processes_share_one_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_search(tmp_path, trials=4, pruner="none")
    with postgres() as address:
        monkeypatch.setenv("SEARCH_PASSWORD", QUOTED)
        storage = f"postgresql://tester:${{SEARCH_PASSWORD}}@{address}/postgres"
        with begin(tmp_path, storage, hold="trial-0000") as other:
            wait_until((tmp_path / "runs" / "held").exists, other)
            assert search(words(tmp_path, storage)) == 0
            other.send_signal(signal.SIGINT)
            said = "".join(other.communicate(timeout=WAIT_S))
        assert other.returncode == 130, said
        states = [trial.state.name for trial in trials_of(storage)]
        assert states == ["FAIL", *["COMPLETE"] * 4, "WAITING"]
        said += "".join(capfd.readouterr())
        assert PASSWORD not in said and QUOTED not in said

        monkeypatch.setenv("SEARCH_PASSWORD", "wrong-one")
        assert patchwatch.main(["search", "best", "--storage", storage]) == 1
        err = capfd.readouterr().err
    assert f"***@{address}/postgres" in err
    assert "password authentication failed" in err
    assert "wrong-one" not in err and "Traceback" not in err


def test_best_prints_the_table_and_writes_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_search(tmp_path, trials=3)
    assert search(words(tmp_path, url_of(tmp_path))) == 0
    capsys.readouterr()
    best = max(trials_of(url_of(tmp_path)), key=lambda t: t.value or 0.0)
    target = tmp_path / "copy" / "best.safetensors"
    command = ["search", "best", "--storage", url_of(tmp_path)]
    assert patchwatch.main([*command, "-o", str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.split() and line.split()[0].isdigit()]
    assert [float(row[1]) for row in rows] == sorted((float(row[1]) for row in rows), reverse=True)
    assert int(rows[0][0]) == best.number and len(rows) == 3
    assert lines[-1] == str(target)
    assert target.read_text() == f"faces.safetensors of trial-{best.number:04d}"
    assert target.with_suffix(".json").read_text() == f"faces.json of trial-{best.number:04d}"

    assert patchwatch.main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == best.user_attrs["checkpoint"]
    assert patchwatch.main([*command, "-o", str(tmp_path / "best.pth")]) == 2
    assert patchwatch.main([*command, "--study", "other"]) == 2
    assert "(faces), found other" in capsys.readouterr().err


def test_a_trial_that_falls_behind_is_pruned(tmp_path: Path) -> None:
    write_search(tmp_path, trials=9, first_trials=3, first_epochs=2)
    assert search(words(tmp_path, url_of(tmp_path))) == 0
    trials = trials_of(url_of(tmp_path))
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert pruned and len(finished(trials)) == 9
    assert all(2 <= len(t.intermediate_values) < EPOCHS for t in pruned)


def test_nothing_but_failures_end_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_search(tmp_path)
    assert search(words(tmp_path, url_of(tmp_path)), fake_search.fails) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "first 3 trials failed, the last one with: the loss is nan" in said
    trials = trials_of(url_of(tmp_path))
    assert [t.user_attrs[ERROR] for t in trials] == ["the loss is nan at step 1."] * 3


def test_a_study_goes_on_only_with_what_it_was_started_with(tmp_path: Path) -> None:
    config = load_search_config(write_search(tmp_path))
    with open_storage(parse_address(url_of(tmp_path))) as storage:
        open_study(storage, "a", config, {"space": 1, "base set": "x"})
        again = open_study(storage, "a", config, {"space": 1, "base set": "x"})
        assert again.user_attrs[STARTED] == {"space": 1, "base set": "x"}
        with pytest.raises(ConfigError, match="the study a was started with another base set"):
            open_study(storage, "a", config, {"space": 1, "base set": "y"})


def test_the_digest_of_a_set_is_of_what_it_holds_and_not_of_where(tmp_path: Path) -> None:
    first = set_digest(write_faces(tmp_path / "a", "youtube", videos=1, faces=1))
    assert set_digest(write_faces(tmp_path / "b", "youtube", videos=1, faces=1)) == first
    assert set_digest(write_faces(tmp_path / "c", "youtube", videos=2, faces=1)) != first
    assert set_digest(load_set(tmp_path / "a")) == first


def test_the_real_training_is_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet18, "PLANES", (8, 16, 32, 64))
    write_faces(tmp_path / "base", "faceforensics", faces=2)
    settings = {"kind": "faces", "name": "faces", "init": None, "size": 32, "batch": 8}
    settings |= {"epochs": 2, "grid": 4, "train_set": "base"}
    space = {"dropout": parse_range("dropout", {"low": 0.1, "high": 0.5})}
    objective = Objective(
        settings, space, {"base": tmp_path / "base"}, tmp_path / "runs",
        "none", Machine("cpu", 0), "faces", "none",
    )  # fmt: skip
    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert sorted(trial.intermediate_values) == [1, 2] and 0 <= study.best_value <= 1
    assert "base balanced_accuracy" in trial.user_attrs
    assert Path(trial.user_attrs["checkpoint"]).is_file()
    assert "faces to learn from" in (tmp_path / "runs" / "trial-0000.log").read_text()


@pytest.mark.parametrize("text", ["search.db", "redis://host/1", "sqlite://", "${NOT_SET_HERE}"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--storage: "):
        parse_address(text)


def test_a_server_that_is_down_is_shown_without_credentials(tmp_path: Path) -> None:
    address = parse_address("postgresql://joe:s3cret@127.0.0.1:9/db")
    shown = r"postgresql\+psycopg://\*\*\*@127\.0\.0\.1:9/db"
    with pytest.raises(SinkError, match=shown) as caught, open_storage(address):
        pass
    assert "s3cret" not in str(caught.value) and caught.value.__suppress_context__
    absent = parse_address(f"sqlite:///{tmp_path}/absent/a.db")
    with pytest.raises(SinkError, match="cannot be read or written"), open_storage(absent):
        pass


def test_values_are_drawn_as_the_file_says(tmp_path: Path) -> None:
    config = load_search_config(write_search(tmp_path))
    drawn = [optuna.create_study().ask(config.ranges()).params for _ in range(30)]
    assert {type(values["dropout"]) for values in drawn} == {float}
    assert {values["epochs"] for values in drawn} <= {10, 15, 20}
    assert {values["hidden"] for values in drawn} == {None, 256}
    assert with_values({"a": {"b": 1, "c": 2}}, {"a.b": 3, "d": None}) == {
        "a": {"b": 3, "c": 2},
        "d": None,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("space: {dropout: {low: 1, high: 0}}", "low <= high"),
        ("space: {dropout: 0.5}", "dropout: expected choices, or low and high"),
        ("space: {dropout: {low: 0, high: 1, log: true}}", "dropout: "),
        ("space: {dropout: {low: 0, hihg: 1}}", "dropout: expected choices, or low and high"),
        ("space: {dropout: {choices: [1], lwo: 1}}", "dropout: expected choices, or low and high"),
        ("space: {a: {choices: [1]}}\nsilence_s: 60", "at least twice heartbeat_s"),
    ],
)
def test_a_wrong_configuration_is_a_sentence(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(f"training: t.yaml\n{change}\n")
    with pytest.raises(ConfigError) as caught:
        load_search_config(path)
    assert message in str(caught.value)


def test_a_key_that_the_training_does_not_have_is_found_before_a_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_search(tmp_path)
    config.write_text(config.read_text().replace('"dropout"', '"dropuot"'))
    assert patchwatch.main(words(tmp_path, url_of(tmp_path))) == 2
    assert "Did you mean 'dropout'?" in capsys.readouterr().err
    assert not (tmp_path / "search.db").exists()


def test_the_committed_search_fits_the_committed_training() -> None:
    config = load_search_config(ROOT / "configs" / "search" / "faces.yaml")
    settings = yaml.safe_load(config.training.read_text(encoding="utf-8"))
    found = [FacesConfig.model_validate(corner) for corner in corners(config, settings)]
    assert {c.train_set for c in found} == {"base", "both"} and len(found) == len(config.space) + 1
