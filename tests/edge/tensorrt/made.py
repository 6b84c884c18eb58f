"""Machines, keys and sidecars to test with."""

from __future__ import annotations

import hashlib

from edge.tensorrt.record import Build, EngineKey, Machine, Proof, Shape, Sidecar
from tests.fakes import make_manifest


def make_machine(**changes: object) -> Machine:
    fields: dict[str, object] = {
        "tensorrt": "10.3.0",
        "compute_capability": (8, 7),
        "gpu": "Orin",
        "driver": (12, 6),
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.3",
        "jetpack": "6.1 or 6.2",
    }
    return Machine.model_validate(fields | changes)


def make_key(**changes: object) -> EngineKey:
    fields: dict[str, object] = {
        "machine": make_machine(),
        "precision": "fp16",
        "shape": Shape(batch=1, height=64, width=96),
        "onnx_sha256": "a" * 64,
    }
    return EngineKey.model_validate(fields | changes)


def make_proof(**changes: object) -> Proof:
    fields: dict[str, object] = {
        "frames": 16,
        "max_logit": 0.001,
        "max_patch": 0.002,
        "logit_scaled": 0.001,
        "patch_scaled": 0.002,
        "agreement": 1.0,
        "logit_bound": 0.01,
        "patch_bound": 0.01,
    }
    return Proof.model_validate(fields | changes)


def make_sidecar(plan: bytes, key: EngineKey | None = None, **changes: object) -> Sidecar:
    fields: dict[str, object] = {
        "key": key or make_key(),
        "manifest": make_manifest(),
        "engine_sha256": hashlib.sha256(plan).hexdigest(),
        "engine_bytes": len(plan),
        "build": Build(
            route="half by flag",
            source="model.onnx",
            network_flags=(),
            builder_flags=("FP16",),
            workspace_bytes=1 << 28,
            seconds=61.5,
        ),
        "proof": make_proof(),
        "built_at": "2026-11-25T12:00:00+00:00",
        "patchwatch": "0.1.0",
    }
    return Sidecar.model_validate(fields | changes)
