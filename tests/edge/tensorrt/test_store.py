from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import EngineError, ModelError
from edge.tensorrt.cache import EngineCache, write_engine
from edge.tensorrt.record import Shape, Sidecar
from edge.tensorrt.store import EngineRequest, EngineStore, OneEngine, Progress
from tests.edge.tensorrt.made import make_key, make_machine, make_sidecar
from tests.fakes import make_manifest

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
