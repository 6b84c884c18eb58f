"""Models for boards: a signed repository on loopback, and a run that takes what it may trust."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.commands.run import watch
from edge.config import RunConfig, build_config
from edge.config.parts import ModelsConfig
from edge.detector import Detector
from edge.errors import ModelError, SinkError
from edge.fleet import ModelStore, ModelUpdates, SelfTest
from edge.regions import parse_region
from patchwatch import main
from tests.edge.sources.clips import write_clip
from tests.fakes import make_manifest, wait_for
from tests.onnx_files import write_model
from tests.servers import free_port, http_files

fleet = pytest.importorskip(
    "edge.commands.fleet", reason="needs python-tuf: pip install 'patchwatch[fleet]'"
)


class Publisher:
    """A repository with its keys, two of three for models."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder / "repository", folder / "keys"
        self.root = folder / "root.json"
        assert self("init") == 0
        shutil.copy(self.folder / "root.json", self.root)

    def __call__(self, action: str, *words: object) -> int:
        keys = [] if action == "status" else ["--keys", str(self.keys)]
        return main(["fleet", action, "--repository", str(self.folder), *keys, *map(str, words)])

    def with_test(self, model: Path, test: SelfTest, days: int = 30) -> None:
        """Publish a model with a self-test of one's own."""
        made = fleet.ModelRepository(self.folder, fleet._signers([self.keys]), days)
        made.publish(model, "default", test)
        made.sign_again()


def forge(folder: Path) -> None:
    """Change the newest models of a repository behind their signatures."""
    path = max(
        (folder / "metadata").glob("*.targets.json"), key=lambda p: int(p.stem.split(".")[0])
    )
    data = json.loads(path.read_text())
    data["signed"]["targets"]["default.onnx"]["length"] += 1
    path.write_text(json.dumps(data))


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def model_of(path: Path, temperature: float) -> Path:
    """A model of its own, told by its scores: the higher the temperature, the nearer to a half."""
    return write_model(path, make_manifest(calibration={"temperature": temperature}))


def options(publisher: Publisher, url: str, folder: Path) -> ModelsConfig:
    return ModelsConfig(url=url, root=publisher.root, folder=folder)


def test_two_of_three_keys_publish_and_one_does_not(
    tmp_path: Path, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(tmp_path / "m.onnx", 1.0)
    (publisher.keys / "signer-1.pem").rename(tmp_path / "elsewhere.pem")
    assert publisher("publish", model) == 0
    (publisher.keys / "signer-2.pem").unlink()
    capsys.readouterr()
    assert publisher("publish", model) == 1
    assert "targets needs 2 of its keys, and 1 were found" in capsys.readouterr().err
    assert publisher("publish") == 0  # signs again with the online key alone
    assert publisher("status") == 0
    assert "default" in capsys.readouterr().out
    assert publisher("init") == 2 and publisher("publish", tmp_path / "absent.onnx") == 2


def test_what_no_board_could_use_is_refused_before_anything_is_written(
    tmp_path: Path, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(tmp_path / "m.onnx", 1.0)
    for flag, value, said in (
        ("--name", "../evil", "as in models.name"),
        ("--name", "a b", "as in models.name"),
        ("--days", "1000000000", "3650 days at most"),
    ):
        with pytest.raises(SystemExit, match="2"):
            publisher("publish", model, flag, value)
        assert said in capsys.readouterr().err
    assert not list((publisher.folder / "targets").glob("*"))


def test_an_init_that_cannot_write_leaves_no_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    keys = ["--keys", str(tmp_path / "keys")]
    for folder, code in (("file/models", 1), ("models", 0)):
        assert main(["fleet", "init", "--repository", str(tmp_path / folder), *keys]) == code
        said = capsys.readouterr().err
        assert code == 0 or "cannot be made (Not a directory)" in said
    for place, code in (("file/keys", 1), ("new", 0)):
        two = ["--repository", str(tmp_path / "two"), "--keys", str(tmp_path / place)]
        assert main(["fleet", "init", *two]) == code


def test_status_says_what_has_expired(
    tmp_path: Path, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.ModelRepository(publisher.folder, fleet._signers([publisher.keys]), -1).sign_again()
    assert publisher("status") == 1
    assert capsys.readouterr().out.count("EXPIRED") == 2
    assert main(["fleet", "status", "--repository", str(tmp_path)]) == 1
    assert "fleet init" in capsys.readouterr().err


def test_root_and_targets_are_renewed_in_time_where_the_keys_are_given(
    tmp_path: Path,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def state() -> dict[str, tuple[int, int]]:
        """The version of a role, and the days that are left."""
        made = fleet.ModelRepository(publisher.folder)
        now = datetime.now(timezone.utc)
        signed = {role: made.open(role).signed for role in ("root", "targets")}
        return {role: (s.version, (s.expires - now).days + 1) for role, s in signed.items()}

    def sign(days: int) -> None:
        monkeypatch.setattr(fleet, "_YEAR", days)
        for role in ("root", "targets"):
            with fleet.ModelRepository(publisher.folder, fleet._signers([publisher.keys])).edit(
                role
            ):
                pass

    publisher("publish", model_of(tmp_path / "m.onnx", 1.0))
    sign(91)
    publisher("publish")
    assert state() == {"root": (2, 91), "targets": (3, 91)}
    sign(89)
    monkeypatch.setattr(fleet, "_YEAR", 365)
    capsys.readouterr()
    assert publisher("status") == 0 and capsys.readouterr().out.count(" soon") == 2
    keys = publisher.keys
    publisher.keys = tmp_path / "online"  # as where the folder is signed again every week
    publisher.keys.mkdir()
    shutil.copy(keys / "online.pem", publisher.keys)
    assert publisher("publish") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "root expires on " in said and "targets needs 2 of its keys, and 0 were found" in said
    publisher.keys = keys
    assert publisher("publish") == 0 and "expires on" not in capsys.readouterr().err
    assert state() == {"root": (4, 365), "targets": (5, 365)}
    with http_files(publisher.folder) as url:
        assert ModelStore(options(publisher, url, tmp_path / "board")).fetch() is not None


def test_a_model_that_the_program_died_of_twice_is_refused(
    tmp_path: Path, publisher: Publisher
) -> None:
    first, second = (model_of(tmp_path / f"{t}.onnx", t) for t in (1.0, 2.0))
    with http_files(publisher.folder) as url:
        config = options(publisher, url, tmp_path / "board")
        publisher("publish", first)
        store = ModelStore(config)
        offer = store.fetch()
        assert offer is not None
        store.begin(offer.sha256)
        store.accept(offer.sha256)
        publisher("publish", second)
        for _ in range(2):
            store = ModelStore(config)
            assert store.current() == offer.path
            newer = store.fetch()
            assert newer is not None and newer.path.read_bytes() == second.read_bytes()
            store.begin(newer.sha256)
        store = ModelStore(config)
        assert store.current() == offer.path and store.fetch() is None


def test_a_damaged_model_gives_way_to_the_one_before_and_is_fetched_again(
    tmp_path: Path, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    with http_files(publisher.folder) as url:
        config = options(publisher, url, tmp_path / "board")
        store, paths = ModelStore(config), []
        for temperature in (1.0, 2.0):
            publisher("publish", model_of(tmp_path / f"{temperature}.onnx", temperature))
            offer = store.fetch()
            assert offer is not None
            store.accept(offer.sha256)
            paths.append(offer.path)
        before, newest = paths
        whole = newest.read_bytes()
        assert ModelStore(config).current() == newest
        newest.write_bytes(b"damaged")
        assert ModelStore(config).current() == before
        assert f"the model {newest.stem[:12]} is damaged or gone" in caplog.text
        store = ModelStore(config)  # what it noted is on the disk
        offer = store.fetch()
        assert offer is not None and offer.path == newest and newest.read_bytes() == whole
        store.accept(offer.sha256)
        newest.unlink()
        before.write_bytes(b"damaged too")
        store = ModelStore(config)
        assert store.current() is None and store.fetch() == offer
        assert newest.read_bytes() == whole


def test_a_full_disk_at_the_start_keeps_no_board_from_starting(
    tmp_path: Path,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = options(publisher, "http://localhost", tmp_path / "board")
    ModelStore(config).begin("0" * 64)

    def full(path: Path, data: object) -> None:
        raise SinkError(f"{path}: the disk is full.")

    monkeypatch.setattr("edge.fleet.write_whole", full)
    assert ModelStore(config).current() is None
    assert [record.getMessage() for record in caplog.records] == [
        "what became of a model is forgotten when this run ends: "
        f"{tmp_path / 'board' / 'state.json'}: the disk is full."
    ]


def test_all_of_a_run_has_the_model_that_was_fetched_also_when_it_is_configured_again(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = tmp_path / "board" / "models" / f"{'0' * 64}.onnx"
    fetched.parent.mkdir(parents=True)
    shutil.copy(model_of(tmp_path / "new.onnx", 2.0), fetched)
    monkeypatch.setattr(ModelStore, "current", lambda store: fetched)
    monkeypatch.setattr(ModelStore, "fetch", lambda store: None)
    config = build_config(
        {
            "model": str(model_of(tmp_path / "old.onnx", 1.0)),
            "cameras": [{"name": "door", "source": "rtsp://localhost/x"}],
            "models": options(publisher, "http://localhost", tmp_path / "board").model_dump(),
        }
    )
    told = [config, config.model_copy(update={"model": "lite0-levels"})]
    seen: list[str] = []

    def session(config: RunConfig, detector: Detector, *more: Any) -> SimpleNamespace:
        seen.append(config.model)
        seen.extend(more[1]().model for _ in told.copy())
        return SimpleNamespace(run=list)

    monkeypatch.setattr("edge.commands.run.LiveSession", session)
    watch(config, reread=lambda: told.pop(0))
    # A model that is configured anew needs a restart, as without models from a repository.
    assert seen == [str(fetched), str(fetched), "lite0-levels"]


def test_what_a_board_lacks_is_said_in_words(
    tmp_path: Path, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    model, config = write_model(tmp_path / "m.onnx"), tmp_path / "c.yaml"
    clip = write_clip(tmp_path / "clip.mp4", 3, (96, 64))
    for models, reason in (("{url: http://localhost/x}", "models.root"), ("{url: ftp://x}", "url")):
        config.write_text(f"model: {model}\nsource: {clip}\nmodels: {models}")
        assert main(["run", "--config", str(config), "--headless"]) == 2
        assert reason in capsys.readouterr().err
    with http_files(publisher.folder) as url, pytest.raises(ModelError, match="has no model"):
        ModelStore(options(publisher, url, tmp_path / "board")).fetch()


def test_a_model_for_faces_does_not_replace_one_for_pictures(
    tmp_path: Path, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    first = model_of(tmp_path / "m.onnx", 1.0)
    faces = write_model(tmp_path / "faces.onnx", make_manifest(region="faces:224"))
    assert publisher("publish", faces) == 0
    with http_files(publisher.folder) as url:
        store = ModelStore(options(publisher, url, tmp_path / "board"))
        with ModelUpdates(store, lambda path: pytest.fail("opened")):
            state = tmp_path / "board" / "state.json"
            wait_for(lambda: state.exists() and json.loads(state.read_text())["refused"], 60)
    capsys.readouterr()
    assert publisher("publish", first) == 2
    assert "Publish it under another --name" in capsys.readouterr().err
    assert publisher("publish", first, "--name", "pictures") == 0


def test_a_server_that_is_down_is_one_sentence_with_the_reason(
    tmp_path: Path, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ModelError, match=rf"^{url}: .*Connection refused\.$"):
        ModelStore(options(publisher, url, tmp_path / "board")).fetch()
    assert not caplog.records


@contextmanager
def board(tmp_path: Path, publisher: Publisher, url: str) -> Iterator[tuple[Path, Path]]:
    """A run that looks for models ten times a second; its lines, and what it says."""
    clip = write_clip(tmp_path / "clip.mp4", size_wh=(96, 64), gaps=range(0, 90, 3))
    config, lines, log = tmp_path / "c.yaml", tmp_path / "all.jsonl", tmp_path / "log"
    config.write_text(
        f"model: {model_of(tmp_path / 'shipped.onnx', 1.0)}\nsource: {clip}\n"
        "capture: {loop: true}\nbackend: {name: onnxruntime}\nverdict: {reuse: false}\n"
        f"output: {{window: false, json_lines: {lines}}}\nmodels: {{url: '{url}', every_s: 0.1, "
        f"root: {publisher.root}, folder: {tmp_path / 'board'}}}\n"
    )
    words = [sys.executable, "-m", "patchwatch", "run", "--config", str(config)]
    with log.open("w") as out, subprocess.Popen(words, stderr=out) as run:
        try:
            yield lines, log
        finally:
            run.terminate()
            assert run.wait(60) == 143, log.read_text()


def scores(lines: Path) -> list[tuple[float, float]]:
    """Logit and score of each whole line."""
    text = lines.read_text() if lines.exists() else ""
    found = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
    return [(line["logit"], line["score"]) for line in found if line["score"] is not None]


def test_a_run_refuses_what_it_must_not_trust_and_takes_what_is_good(
    tmp_path: Path, publisher: Publisher
) -> None:
    good = model_of(tmp_path / "good.onnx", 1000.0)
    test = fleet.self_test(good)
    served, older = tmp_path / "served", tmp_path / "older"
    publisher("publish", write_model(tmp_path / "other.onnx"), "--name", "other")
    shutil.copytree(publisher.folder, older)
    served.symlink_to(publisher.folder)

    def serve(folder: Path) -> None:
        part = tmp_path / "part"
        part.symlink_to(folder)
        part.replace(served)

    with http_files(served) as url, board(tmp_path, publisher, url) as (lines, log):

        def refused(reason: str) -> None:
            wait_for(lambda: reason in log.read_text(), 120)
            seen = len(scores(lines))
            wait_for(lambda: len(scores(lines)) > seen + 3, 120)
            # Those of the model that it began with, which are far from a half.
            assert all(min(score, 1 - score) < 0.3 for _, score in scores(lines)[seen:])

        refused("has no model")
        wrong = test.model_copy(update={"logits": (*test.logits[:-1], test.logits[-1] + 9)})
        publisher.with_test(model_of(tmp_path / "wrong.onnx", 999.0), wrong)
        refused("its self-test failed: on frame 6")
        publisher.with_test(good, test, days=-1)
        refused("ExpiredMetadataError")
        for copy in ("expired", "forged"):  # so that no look meets what is half made
            shutil.copytree(publisher.folder, tmp_path / copy)
            serve(tmp_path / "expired")
            publisher("publish")
        forge(tmp_path / "forged")
        serve(tmp_path / "forged")
        refused("UnsignedMetadataError")
        serve(older)
        refused("BadVersionNumberError")
        publisher.with_test(good, test)
        serve(publisher.folder)
        wait_for(lambda: "judges now" in log.read_text(), 120)
        seen = len(scores(lines))
        wait_for(lambda: len(scores(lines)) > seen + 3, 120)
        assert all(abs(score - 0.5) < 0.1 for _, score in scores(lines)[seen + 1 :])
    state = json.loads((tmp_path / "board" / "state.json").read_text())
    assert len(state["refused"]) == 1 and state["trial"] is None and state["current"]


def test_a_file_that_is_cut_on_the_way_is_not_taken(tmp_path: Path, publisher: Publisher) -> None:
    publisher("publish", model_of(tmp_path / "m.onnx", 1.0))
    (stored,) = (publisher.folder / "targets").glob("*.onnx")
    stored.write_bytes(stored.read_bytes()[:-1])
    with http_files(publisher.folder) as url:
        store = ModelStore(options(publisher, url, tmp_path / "board"))
        with pytest.raises(ModelError, match=r"LengthOrHash|LengthMismatch"):
            store.fetch()
    assert not list((tmp_path / "board" / "models").glob("*.onnx"))


def test_an_answer_that_is_cut_short_is_one_sentence(tmp_path: Path, publisher: Publisher) -> None:
    cut = http_files(publisher.folder, break_after=10)
    with cut as url, pytest.raises(ModelError, match=rf"^{url}: ProtocolError: .*\.$"):
        ModelStore(options(publisher, url, tmp_path / "board")).fetch()


def test_what_nobody_foresaw_is_logged_and_the_model_is_looked_for_again(
    tmp_path: Path, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher("publish", model_of(tmp_path / "m.onnx", 1.0))
    closed = 0

    @contextmanager
    def opened(path: Path) -> Iterator[Detector]:
        nonlocal closed
        with OnnxRuntimeBackend(path) as backend:
            try:
                # The first time nothing can run it.
                yield Detector(backend if closed else None, parse_region("native"))  # type: ignore[arg-type]
            finally:
                closed += 1

    with http_files(publisher.folder) as url:
        store = ModelStore(options(publisher, url, tmp_path / "board"))
        with ModelUpdates(store, opened, every_s=0.05) as updates:
            wait_for(lambda: updates._candidate is not None, 60)
            assert closed == 1
    assert closed == 2 and store._state.trial is None
    (record,) = [record for record in caplog.records if record.name == "edge.fleet"]
    said = "no new model is taken, keeping the current one: AttributeError: "
    assert record.getMessage().startswith(said) and record.exc_info is None
