from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import torch
import yaml
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

from edge.errors import ConfigError, ModelError, SinkError, UsageError
from patchwatch import main
from tests.training.faces import fake_training
from tests.training.faces.face_sets import write_faces
from tests.training.faces.fake_training import EPOCHS, HOLD, carry_out, words, write_search
from tests.training.faces.postgres import PASSWORD, QUOTED, postgres
from training.faces import search_workers
from training.faces.config import FacesConfig
from training.faces.search import set_digest
from training.faces.sets import load_set
from training.faces.space import corners, draw, laid_over, load_search_config
from training.faces.storage import BEGUN, ERROR, begin_study, open_storage, parse_address
from training.faces.trials import WORKER, Epoch, Job, Search, Train, Worker, train_trial
from training.settings import Machine

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 90


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other take a loaded machine many times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/search.db"


def make_search(folder: Path, train: Train = fake_training.train, **options: object) -> Search:
    """As the command makes it; its workers can then work in this process."""
    config = load_search_config(write_search(folder, **options))  # type: ignore[arg-type]
    search = Search(
        address=parse_address(url_of(folder)),
        study="faces",
        config=config,
        settings=yaml.safe_load(config.training.read_text()),
        sets={name: folder / name for name in ("base", "augment")},
        output=folder / "runs",
        train=train,
        licence="none",
        machine=Machine("cpu", 0),
    )
    with open_storage(search.address, config) as storage:
        begin_study(storage, search.study, {}, search.artifacts)
    return search


def work(search: Search) -> None:
    """As one of its workers, in this process."""
    with open_storage(search.address, search.config) as storage:
        Worker(search, storage, 0).work()


def trials_of(url: str, study: str = "faces") -> list[FrozenTrial]:
    with open_storage(parse_address(url)) as storage:
        return optuna.load_study(study_name=study, storage=storage).get_trials()


def finished(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def begin(folder: Path, hold: str, *more: str) -> subprocess.Popen[str]:
    """A search in a process group of its own, as a terminal gives it."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            fake_training.__name__,
            *words(folder, url_of(folder), "--threads", "1", *more),
        ],
        cwd=ROOT,
        env=os.environ | {HOLD: hold},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def held_by(folder: Path, process: subprocess.Popen[str]) -> int:
    """The worker that is in the middle of the trial."""
    marker = folder / "runs" / "held"
    wait_until(lambda: marker.exists() and bool(marker.read_text()), process)
    return int(marker.read_text())


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="a killed parent ends workers on Linux alone")
def test_a_search_that_was_killed_goes_on_and_loses_nothing(tmp_path: Path) -> None:
    write_search(tmp_path, trials=6)
    with begin(tmp_path, hold="trial-0002") as process:
        worker = held_by(tmp_path, process)
        process.kill()
        process.communicate()
    deadline = time.monotonic() + WAIT_S
    while is_alive(worker):
        assert time.monotonic() < deadline, "a worker has outlived its search"
        time.sleep(0.05)
    before = trials_of(url_of(tmp_path))
    assert [t.state.name for t in before] == ["COMPLETE", "COMPLETE", "RUNNING"]

    with begin(tmp_path, hold="") as process:
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    after = trials_of(url_of(tmp_path))
    assert len(finished(after)) == 6
    for old, new in zip(before[:2], after, strict=False):
        assert (old.values, old.params, old.datetime_complete, old.intermediate_values) == (
            new.values,
            new.params,
            new.datetime_complete,
            new.intermediate_values,
        )
    assert after[2].state == TrialState.FAIL
    (again,) = [t for t in after if t.system_attrs.get("failed_trial") == 2]
    assert again.state == TrialState.COMPLETE and again.params == before[2].params
    # It went on after the second epoch, in the folder of the one that was killed.
    epochs = json.loads((tmp_path / "runs" / "trial-0002" / "epochs.json").read_text())
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4]
    assert epochs[1][1] == worker != epochs[2][1]
    assert sorted(again.intermediate_values) == [1, 2, 3, 4]
    assert "2 trials were finished before" in err and "again 2" in err
    assert out.count("complete") == 6


def test_ctrl_c_ends_it_at_once_and_keeps_the_trial_for_later(tmp_path: Path) -> None:
    write_search(tmp_path)
    with begin(tmp_path, hold="trial-0001") as process:
        worker = held_by(tmp_path, process)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "The same command goes on" in err and "Traceback" not in err
    assert not is_alive(worker)
    first, stopped, waiting = trials_of(url_of(tmp_path))
    assert first.state == TrialState.COMPLETE and stopped.state == TrialState.FAIL
    assert waiting.state == TrialState.WAITING and waiting.params == stopped.params
    assert waiting.intermediate_values == stopped.intermediate_values
    # Being stopped is not counted as a failure of the worker.
    assert waiting.system_attrs["retry_history"] == []


def test_two_workers_share_one_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_search(tmp_path, trials=5)
    with postgres() as address:
        monkeypatch.setenv("SEARCH_PASSWORD", QUOTED)
        storage = f"postgresql://tester:${{SEARCH_PASSWORD}}@{address}/postgres"
        assert carry_out(words(tmp_path, storage, "--workers", "2", "--threads", "1")) == 0
        trials = trials_of(storage)
        # No trial was done twice, none was forgotten, and no more than were wanted.
        assert [t.state for t in trials] == [TrialState.COMPLETE] * 5
        assert [t.number for t in trials] == list(range(5))
        assert len({json.dumps(t.params) for t in trials}) == 5
        assert len({t.user_attrs[WORKER] for t in trials}) == 2
        said = capfd.readouterr()
        assert PASSWORD not in said.out + said.err and QUOTED not in said.out + said.err

        monkeypatch.setenv("SEARCH_PASSWORD", "wrong-one")
        assert main(["search", "best", "--storage", storage]) == 1
        said = capfd.readouterr()
    assert f"postgresql://***@{address}/postgres" in said.err
    assert "password authentication failed" in said.err
    assert "wrong-one" not in said.err and "tester" not in said.err and "Traceback" not in said.err


def test_a_worker_that_is_killed_each_time_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_search(tmp_path)
    monkeypatch.setattr(search_workers, "DEATHS", 2)
    with pytest.raises(ModelError, match=r"2 workers were killed \(signal 9\)"):
        carry_out(words(tmp_path, url_of(tmp_path)), fake_training.is_killed)


def test_the_dashboard_answers_on_loopback_with_study_and_files(tmp_path: Path) -> None:
    search = make_search(tmp_path, trials=1)
    work(search)
    command = [sys.executable, "-m", "patchwatch", "search", "dashboard", "--port", "0"]
    with subprocess.Popen(
        [*command, "--storage", url_of(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline().strip()
        match = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/dashboard", line)
        assert match, line
        (study,) = json.loads(get(f"{match[1]}/api/studies"))["study_summaries"]
        assert study["study_name"] == "faces"
        detail = json.loads(get(f"{match[1]}/api/studies/{study['study_id']}?after=0"))
        (trial,) = detail["trials"]
        kept = {item["filename"]: item["artifact_id"] for item in trial["artifacts"]}
        assert set(kept) == {"faces.safetensors", "faces.json", "metrics.png"}
        place = f"{match[1]}/artifacts/{study['study_id']}/{trial['trial_id']}"
        assert get(f"{place}/{kept['faces.safetensors']}") == b".safetensors of trial-0000"
        assert b"<html" in get(f"{match[1]}/dashboard/").lower()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0 and "Traceback" not in said


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=WAIT_S) as answer:
        found: bytes = answer.read()
    return found


def test_best_prints_the_table_and_writes_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = make_search(tmp_path, trials=3)
    work(search)
    trials = trials_of(url_of(tmp_path))
    best = max(trials, key=lambda t: t.value or 0.0)
    target = tmp_path / "given" / "best.safetensors"
    words = ["search", "best", "--storage", url_of(tmp_path)]
    assert main([*words, "-o", str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.split() and line.split()[0].isdigit()]
    assert [float(row[1]) for row in rows] == sorted((float(row[1]) for row in rows), reverse=True)
    assert int(rows[0][0]) == best.number and len(rows) == 3
    assert lines[-1] == str(target)
    assert target.read_text() == f".safetensors of trial-{best.number:04d}"
    assert target.with_suffix(".json").read_text() == f".json of trial-{best.number:04d}"

    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == best.user_attrs["checkpoint"]
    assert main([*words, "-o", str(tmp_path / "best.pth")]) == 2
    assert main([*words, "--study", "other"]) == 2
    assert "(faces), found other" in capsys.readouterr().err


def test_a_trial_that_falls_behind_is_pruned_and_keeps_its_files(tmp_path: Path) -> None:
    search = make_search(tmp_path, trials=9, first_trials=3, first_epochs=2)
    work(search)
    trials = trials_of(url_of(tmp_path))
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert pruned and len(finished(trials)) == 9
    assert all(2 <= len(t.intermediate_values) < EPOCHS for t in pruned)
    with open_storage(search.address) as storage:
        assert all(len(get_all_artifact_meta(t, storage=storage)) == 3 for t in trials)


def test_a_failure_of_its_own_is_kept_and_nothing_but_failures_end_it(tmp_path: Path) -> None:
    search = make_search(tmp_path, fake_training.fails)
    with pytest.raises(UsageError, match="first 3 trials failed, the last one with: the loss is"):
        work(search)
    trials = trials_of(url_of(tmp_path))
    assert [t.user_attrs[ERROR] for t in trials] == ["the loss is nan at step 1."] * 3


def test_a_trial_that_was_killed_before_its_first_mark_is_missed_too(tmp_path: Path) -> None:
    search = make_search(tmp_path, trials=2, heartbeat_s=1, silence_s=2)
    with (
        open_storage(search.address, search.config) as storage,
        pytest.warns(UserWarning, match="Heartbeat"),
    ):
        lost = optuna.load_study(study_name="faces", storage=storage).ask()
    work(search)
    trials = trials_of(url_of(tmp_path))
    assert trials[lost.number].state == TrialState.FAIL and len(finished(trials)) == 2
    assert [t.system_attrs.get("failed_trial") for t in finished(trials)] == [None, lost.number]


def test_a_study_goes_on_only_with_what_it_was_begun_with(tmp_path: Path) -> None:
    with open_storage(parse_address(url_of(tmp_path))) as storage:
        begin_study(storage, "a", {"space": 1, "base set": "x"}, tmp_path)
        again = begin_study(storage, "a", {"space": 1, "base set": "x"}, tmp_path / "b")
        assert again.user_attrs[BEGUN] == {"space": 1, "base set": "x"}
        with pytest.raises(ConfigError, match="the study a was begun with another base set"):
            begin_study(storage, "a", {"space": 1, "base set": "y"}, tmp_path)


def test_the_digest_of_a_set_is_of_what_it_holds_and_not_of_where(tmp_path: Path) -> None:
    first = set_digest(write_faces(tmp_path / "a", "youtube", videos=1, faces=1))
    assert set_digest(write_faces(tmp_path / "b", "youtube", videos=1, faces=1)) == first
    assert set_digest(write_faces(tmp_path / "c", "youtube", videos=2, faces=1)) != first
    assert set_digest(load_set(tmp_path / "a")) == first


def test_the_real_training_as_a_trial_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    write_faces(tmp_path / "base", "faceforensics", faces=2)
    write_faces(tmp_path / "augment", "youtube", faces=2)
    settings = {"kind": "faces", "name": "faces", "init": None, "size": 32, "batch": 8}
    settings |= {"epochs": 2, "save_every_s": 0, "grid": 4, "train_set": "base"}
    sets = {name: tmp_path / name for name in ("base", "augment")}
    job = Job(settings, sets, tmp_path / "runs" / "trial-0000", "none", Machine("cpu", 0))
    job.folder.mkdir(parents=True)  # of a run that was killed before it had a state
    (job.folder / "half").touch()
    seen: list[int] = []

    def cut(epoch: Epoch) -> None:
        seen.append(epoch.number)
        if len(seen) == 2:
            raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        train_trial(job, cut)
    outcome = train_trial(job, cut)
    # It went on after the first epoch, whose end was saved; that of the second was not any more.
    assert seen == [1, 2, 2]
    assert 0 <= outcome.score <= 1 and outcome.checkpoint.is_file()
    assert {path.name for path in outcome.files} >= {"metrics.png"}
    assert {"base auc", "augment auc", "base balanced_accuracy"} <= outcome.figures.keys()
    assert "faces to learn from" in job.folder.with_suffix(".log").read_text()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://joe:s3cret@host:5432/db", "postgresql://***@host:5432/db"),
        ("postgres://joe:s3cret@host/db?sslpassword=x", "postgres://***@host/db?sslpassword=***"),
    ],
)
def test_an_address_is_shown_without_its_credentials(text: str, shown: str) -> None:
    address = parse_address(text)
    assert address.shown == shown and "s3cret" not in repr(address)
    hidden = address.hide(f'{address.url}: user "joe", s3cret')
    assert hidden.startswith("***: ")
    if "@" in text:
        assert hidden == "***: user ***, ***"


@pytest.mark.parametrize("text", ["search.db", "redis://host/1", "sqlite://", "${NOT_SET_HERE}"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--storage: "):
        parse_address(text)


def test_a_server_that_is_down_is_told_without_credentials(tmp_path: Path) -> None:
    address = parse_address("postgresql://joe:s3cret@127.0.0.1:9/db")
    shown = r"postgresql://\*\*\*@127\.0\.0\.1:9/db"
    with pytest.raises(SinkError, match=shown) as caught, open_storage(address):
        pass
    assert "s3cret" not in str(caught.value) and caught.value.__suppress_context__
    absent = parse_address(f"sqlite:///{tmp_path}/absent/a.db")
    with pytest.raises(SinkError, match="cannot be read or written"), open_storage(absent):
        pass


def test_values_are_drawn_as_the_file_says(tmp_path: Path) -> None:
    config = load_search_config(write_search(tmp_path))
    drawn = [draw(optuna.create_study().ask(), config.space) for _ in range(30)]
    assert {type(values["dropout"]) for values in drawn} == {float}
    assert {values["epochs"] for values in drawn} <= {10, 15, 20}
    assert {values["hidden"] for values in drawn} == {None, 256}
    assert laid_over({"a": {"b": 1, "c": 2}}, {"a.b": 3, "d": None}) == {
        "a": {"b": 3, "c": 2},
        "d": None,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("space: {dropout: {low: 1, high: 0}}", "dropout: expected low ≤ high, found 1 and 0"),
        ("space: {dropout: 0.5}", "dropout: expected choices, or low and high"),
        ("space: {dropout: {low: 0, high: 1, log: true}}", "log needs a low above 0"),
        ("space: {dropout: {low: 0, hihg: 1}}", "dropout: the key 'high' is missing"),
        ("space: {dropout: {choices: [1], lwo: 1}}", "dropout: unknown key 'lwo'"),
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
    assert main(["search", *words(tmp_path, url_of(tmp_path))]) == 2
    assert "Did you mean 'dropout'?" in capsys.readouterr().err
    assert not (tmp_path / "search.db").exists()


def test_the_committed_search_fits_the_committed_training() -> None:
    config = load_search_config(ROOT / "configs" / "search" / "faces.yaml")
    settings = yaml.safe_load(config.training.read_text(encoding="utf-8"))
    found = [FacesConfig.model_validate(corner) for corner in corners(config, settings)]
    assert {c.train_set for c in found} == {"base", "both"} and len(found) == len(config.space) + 1
