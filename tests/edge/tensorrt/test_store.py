from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from edge.errors import EngineError, ModelError, SinkError
from edge.tensorrt.record import Shape, Sidecar
from edge.tensorrt.store import (
    EngineCache,
    EngineRequest,
    EngineStore,
    OneEngine,
    Progress,
    default_folder,
    read_engine,
    sidecar_path,
    write_engine,
)
from tests.edge.tensorrt.made import make_key, make_machine, make_sidecar
from tests.fakes import make_manifest

PLAN = b"ptrt" + bytes(range(256)) * 64


def kept(cache: EngineCache) -> Path:
    path = cache.install(PLAN, make_sidecar(PLAN)).path
    assert path is not None
    return path


def test_what_is_installed_is_found_and_verified(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "not" / "there")
    path = kept(cache)
    found = cache.find(make_key(), "fake")
    assert found is not None
    assert (found.plan, found.path) == (PLAN, path)
    assert found.sidecar == make_sidecar(PLAN)
    assert path.stat().st_mode & 0o777 == 0o644
    cache.discard(found)
    assert not list(cache.folder.iterdir())


@pytest.mark.parametrize("damage", ["cut", "changed", "no record", "other record", "no json"])
def test_what_is_damaged_is_logged_and_not_found(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EngineCache(tmp_path)
    path = kept(cache)
    if damage == "cut":
        path.write_bytes(PLAN[:1000])
    elif damage == "changed":
        path.write_bytes(PLAN[:-1] + b"x")
    elif damage == "no record":
        sidecar_path(path).unlink()
    elif damage == "no json":
        sidecar_path(path).write_text("{")
    else:
        other = make_sidecar(PLAN, make_key(machine=make_machine(l4t="1.0")))
        sidecar_path(path).write_text(other.to_json())
    assert cache.find(make_key(), "fake") is None
    assert "rebuil" in caplog.text


def test_a_folder_that_cannot_be_written_costs_only_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "engines"
    engine = EngineCache(folder).install(PLAN, make_sidecar(PLAN))
    assert engine.path is None and engine.plan == PLAN
    assert str(folder) in caplog.text and "PATCHWATCH_ENGINES" in caplog.text
    with EngineCache(folder).building(make_key(), lambda: None):
        pass


def test_a_write_that_fails_leaves_the_old_engine_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(EngineCache(tmp_path))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SinkError, match="disk is full"):
        write_engine(path, b"new", make_sidecar(b"new"))
    assert read_engine(path).plan == PLAN
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [path.name, sidecar_path(path).name]
    )


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PATCHWATCH_ENGINES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "patchwatch" / "engines"
    monkeypatch.setenv("PATCHWATCH_ENGINES", "~/mine")
    assert default_folder() == Path("~/mine").expanduser()


def _hold(folder: Path, entered: str, leave: str) -> None:
    with EngineCache(folder).building(make_key(), lambda: None):
        Path(entered).touch()
        while not os.path.exists(leave):
            time.sleep(0.01)


def test_one_process_builds_and_the_other_waits(tmp_path: Path) -> None:
    entered, leave = tmp_path / "entered", tmp_path / "leave"
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=_hold, args=(tmp_path, str(entered), str(leave)))
    other.start()
    while not entered.exists():
        time.sleep(0.01)
    waited: list[bool] = []

    def waiting() -> None:
        waited.append(other.is_alive())
        leave.touch()

    with EngineCache(tmp_path).building(make_key(), waiting):
        assert waited == [True]
    other.join()
    with EngineCache(tmp_path).building(make_key(), pytest.fail):
        pass


SHAPE = Shape(batch=1, height=64, width=96)


class Builder:
    """Makes a plan of its number, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.requests: list[EngineRequest] = []

    def __call__(self, request: EngineRequest, progress: Progress) -> tuple[bytes, Sidecar]:
        self.requests.append(request)
        progress("half way")
        plan = b"plan %d" % len(self.requests)
        return plan, make_sidecar(plan, request.key)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08model")
    return path


def store(model: Path, build: Builder | None, **changes: object) -> EngineStore:
    cache = EngineCache(model.parent / "engines")
    return EngineStore(model, make_manifest(**changes), "fp16", build, cache)


def test_another_board_model_variant_or_shape_is_rebuilt(model: Path) -> None:
    build = Builder()
    store(model, build).get(make_machine(), SHAPE)
    store(model, build).get(make_machine(l4t="36.5.0"), SHAPE)
    store(model, build).get(make_machine(), Shape(batch=8, height=64, width=96))
    (model.parent / "model.fp16.onnx").write_bytes(b"\x08half")
    store(model, build).get(make_machine(), SHAPE)
    model.write_bytes(b"\x08other")
    store(model, build).get(make_machine(), SHAPE)
    assert len(build.requests) == 5
    assert len({request.key.digest() for request in build.requests}) == 5


def test_where_nothing_can_build_it_says_what_was_looked_for_and_where(model: Path) -> None:
    with pytest.raises(EngineError, match=r"TensorRT 10\.3\.0.*fp16.*1x64x96.*engines") as caught:
        store(model, None).get(make_machine(), SHAPE)
    assert "patchwatch export MODEL.onnx --engine" in str(caught.value)


def test_an_engine_that_another_process_built_meanwhile_is_taken(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Builder()
    engines = store(model, build)
    key = engines.key(make_machine(), SHAPE)
    plan = b"of another process"
    real = EngineCache.building

    def building(self: EngineCache, *given: object) -> object:
        self.install(plan, make_sidecar(plan, key))
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(EngineCache, "building", building)
    assert engines.get(make_machine(), SHAPE).plan == plan
    assert build.requests == []


def test_a_model_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        EngineStore(tmp_path / "none.onnx", make_manifest(), "fp32")


def test_an_engine_file_of_another_machine_says_in_what_they_differ(tmp_path: Path) -> None:
    write_engine(tmp_path / "mine.engine", b"plan", make_sidecar(b"plan", make_key()))
    other = make_machine(tensorrt="10.7.0", gpu="Thor", compute_capability=(11, 0))
    with pytest.raises(EngineError, match="built for another machine") as caught:
        OneEngine(tmp_path / "mine.engine").get(other, SHAPE)
    for message in ("tensorrt: 10.7.0, not 10.3.0", "gpu: Thor, not Orin"):
        assert message in str(caught.value)
    assert "\n" not in str(caught.value)
