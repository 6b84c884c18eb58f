from __future__ import annotations

import json

import pytest

from edge.cuda import Gpu
from edge.errors import EngineError
from edge.tensorrt.board import Board
from edge.tensorrt.record import Shape, machine_of, parse_sidecar
from tests.edge.tensorrt.made import make_key, make_machine, make_proof, make_sidecar


def test_a_sidecar_survives_its_file() -> None:
    sidecar = make_sidecar(b"plan")
    assert parse_sidecar(sidecar.to_json(), "x.json") == sidecar


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"more": 1}, "more"),
        ({"engine_bytes": "many"}, "engine_bytes"),
    ],
)
def test_another_sidecar_is_refused_in_one_sentence(
    change: dict[str, object], message: str
) -> None:
    data = json.loads(make_sidecar(b"plan").to_json()) | change
    with pytest.raises(EngineError, match=rf"x\.json: not the record .*{message}") as caught:
        parse_sidecar(json.dumps(data), "x.json")
    assert "\n" not in str(caught.value) and "Build the engine again" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": make_machine(tensorrt="10.3.1")},
        {"machine": make_machine(gpu="Orin (other)")},
        {"machine": make_machine(compute_capability=(11, 0))},
        {"machine": make_machine(driver=(12, 7))},
        {"machine": make_machine(board="another")},
        {"machine": make_machine(l4t="36.4.4")},
        {"precision": "fp32"},
        {"shape": Shape(batch=8, height=64, width=96)},
        {"onnx_sha256": "b" * 64},
        {"variant_sha256": "c" * 64},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_an_engine_depends_on_changes_its_digest(changes: dict[str, object]) -> None:
    key, other = make_key(), make_key(**changes)
    assert key.digest() != other.digest()
    assert len(key.differences(other)) == 1
    assert make_key().digest() == key.digest()


def test_a_machine_is_put_together_and_described() -> None:
    gpu = Gpu("Orin", (8, 7), True, True, False, 8 << 30, (12, 6))
    machine = machine_of("10.3.0", gpu, Board("A board", "36.4.3", "6.1 or 6.2"))
    assert machine.describe() == "TensorRT 10.3.0, Orin (sm_87), L4T 36.4.3, CUDA 12.6"
    assert "L4T" not in machine_of("10.3.0", gpu, Board()).describe()


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({}, True),
        ({"logit_scaled": 0.011}, False),
        ({"patch_scaled": 0.011}, False),
        ({"max_patch": None, "patch_scaled": None}, True),
    ],
)
def test_a_proof_holds_within_its_bounds(changes: dict[str, object], ok: bool) -> None:
    assert make_proof(**changes).ok is ok
