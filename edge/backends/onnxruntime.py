"""Runs a model file with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from typing_extensions import Self

from edge.errors import ContractError, ManifestError, ModelError
from edge.manifest import METADATA_KEY, Manifest, parse_manifest
from edge.types import Batch, Evidence

_CONTRACT = (
    "Expected the input frames: uint8 [N, H, W, 3], and the outputs logit: float32 [N] and, where "
    "the manifest has patches, patch_logits: float32 [N, h, w]. Export the model with "
    "'patchwatch export'."
)


class OnnxRuntimeBackend:
    """Runs `model.onnx`; the session exists from construction on, so a bad file fails at once.

    Args:
        path: the model file.
        threads: threads inside an operator; None lets ONNX Runtime use every core.

    Raises:
        ModelError: missing, not ONNX, or refused by the runtime.
        ContractError: other inputs or outputs than the contract's.
        ManifestError: no manifest, a broken one or one of a newer schema.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._path = path
        self._session = _open_session(path, threads)
        self.manifest = read_manifest(self._session, path)
        self._outputs = _check_contract(self._session, self.manifest, path)
        shape = self._session.get_inputs()[0].shape
        self._fixed_hw = tuple(d if isinstance(d, int) else None for d in shape[1:3])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._session

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Run once on black frames of that shape; allocates what later runs need."""
        self.infer(np.zeros((batch, height, width, 3), np.uint8))

    def infer(self, frames: Batch) -> list[Evidence]:
        """Score uint8 [N, H, W, 3] BGR frames; see `Backend.infer`.

        Raises:
            ModelError: the model has a fixed size and the frames another, or the runtime failed.
        """
        self._refuse_other_size(frames)
        try:
            outputs = self._session.run(self._outputs, {"frames": frames})
        except Exception as error:  # the runtime's own exceptions share no public base class
            raise ModelError(
                f"{self._path}: ONNX Runtime failed on frames of shape {frames.shape}: "
                f"{_first_line(error)}"
            ) from error
        logits = outputs[0]
        maps = outputs[1] if len(outputs) > 1 else [None] * len(logits)
        return [Evidence(float(logit), patch) for logit, patch in zip(logits, maps, strict=True)]

    def _refuse_other_size(self, frames: Batch) -> None:
        found = frames.shape[1:3]
        if any(
            fixed is not None and fixed != size
            for fixed, size in zip(self._fixed_hw, found, strict=True)
        ):
            height, width = self._fixed_hw
            raise ModelError(
                f"{self._path}: made for frames of {height}×{width} pixels, got "
                f"{found[0]}×{found[1]}. Choose a region of that size, or export without --static."
            )


def read_manifest(session: ort.InferenceSession, path: Path) -> Manifest:
    """The manifest that a session's file carries.

    Raises:
        ManifestError: none, a broken one or one of a newer schema.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ManifestError(
            f"{path}: carries no patchwatch manifest, so its preprocessing and calibration are "
            "unknown. Export the model with 'patchwatch export'."
        )
    return parse_manifest(text, str(path))


def _open_session(path: Path, threads: int | None) -> ort.InferenceSession:
    if not path.is_file():
        raise ModelError(f"{path}: no such model file. 'patchwatch models' lists the shipped ones.")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    # A plan of the memory is one more block of its size: at 720p 85 MB, for no time saved.
    options.enable_mem_pattern = False
    # A live source leaves gaps between frames; spinning through them would burn a core for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions share no public base class
        raise ModelError(
            f"{path}: not an ONNX model that ONNX Runtime {ort.__version__} can load "
            f"({_first_line(error)}). Copy or export it again."
        ) from error


def _check_contract(session: ort.InferenceSession, manifest: Manifest, path: Path) -> list[str]:
    wanted = ["logit"] if manifest.patches is None else ["logit", "patch_logits"]
    ranks = {"logit": 1, "patch_logits": 3}
    inputs = session.get_inputs()
    outputs = {node.name: node for node in session.get_outputs()}
    input_fits = (
        [node.name for node in inputs] == ["frames"]
        and inputs[0].type == "tensor(uint8)"
        and len(inputs[0].shape) == 4
        and inputs[0].shape[3] == 3
    )
    outputs_fit = all(
        name in outputs
        and outputs[name].type == "tensor(float)"
        and len(outputs[name].shape) == ranks[name]
        for name in wanted
    )
    if input_fits and outputs_fit:
        return wanted
    found = _describe(inputs) + " → " + _describe(list(outputs.values()))
    raise ContractError(f"{path}: its tensors are {found}. {_CONTRACT}")


def _describe(nodes: Sequence[ort.NodeArg]) -> str:
    return ", ".join(f"{node.name}: {node.type}{node.shape}" for node in nodes) or "none"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
