"""What an engine was built from, for and with: its key, and the sidecar that travels beside it."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, get_args

from pydantic import Field, ValidationError

from edge.cuda import Gpu
from edge.errors import EngineError
from edge.manifest import Manifest, Precision
from edge.schema import Strict, fault
from edge.tensorrt.board import Board, read_board

SCHEMA_VERSION = 1

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

DEFAULT_PRECISION: Precision = "fp16"


class Machine(Strict):
    """All of a machine that an engine depends on: it runs nowhere else."""

    tensorrt: str = Field(description="Version, all its parts.")
    compute_capability: tuple[int, int]
    gpu: str = Field(description="Name of the GPU.")
    driver: tuple[int, int] = Field(description="CUDA version of the driver, major and minor.")
    board: str | None = Field(default=None, description="Name of the board.")
    l4t: str | None = Field(default=None, description="Release of Linux for Tegra.")
    jetpack: str | None = None

    def describe(self) -> str:
        """In a few words, for messages."""
        major, minor = self.compute_capability
        parts = [f"TensorRT {self.tensorrt}", f"{self.gpu} (sm_{major}{minor})"]
        if self.l4t:
            parts.append(f"L4T {self.l4t}")
        return ", ".join([*parts, f"CUDA {self.driver[0]}.{self.driver[1]}"])


def machine_of(tensorrt: str, gpu: Gpu, board: Board | None = None) -> Machine:
    """The machine of a TensorRT, a GPU and a board, this one if None."""
    board = board or read_board()
    return Machine(
        tensorrt=tensorrt,
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        driver=gpu.driver,
        board=board.model,
        l4t=board.l4t,
        jetpack=board.jetpack,
    )


class Shape(Strict):
    """The frames that an engine takes: 1 up to `batch` of them, all of one size."""

    batch: int = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}"

    def holds(self, batch: int, height: int, width: int) -> bool:
        """Whether a batch of that size fits."""
        return (self.height, self.width) == (height, width) and batch <= self.batch


class EngineKey(Strict):
    """All that decides whether an engine can be used: if a part differs, another one is needed."""

    schema_version: Literal[1] = 1
    machine: Machine
    precision: Precision
    shape: Shape
    onnx_sha256: str = Field(description="Of the model file.")
    variant_sha256: str | None = Field(
        default=None, description="Of the file beside it that holds the precision's own types."
    )

    def digest(self) -> str:
        """The key in 16 hexadecimal digits."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: EngineKey) -> list[str]:
        """The parts in which two keys differ, as "name: mine, not other's"."""
        mine, theirs = self._flat(), other._flat()
        return [f"{k}: {mine[k]}, not {theirs[k]}" for k in mine if mine[k] != theirs[k]]

    def _flat(self) -> dict[str, object]:
        data = self.model_dump(mode="json")
        return {**data.pop("machine"), **data, "shape": str(self.shape)}


class Loss(Strict):
    """What a precision cost on labelled pictures."""

    data: str = Field(description="The folder.")
    reference_auc: float = Field(description="Mean AUC per generator of the model file.")
    engine_auc: float = Field(description="The engine's.")
    pictures: int
    agreement: float = Field(description="Share of pictures with the same verdict.")


class Proof(Strict):
    """The difference between an engine and ONNX Runtime running the model, on the same frames."""

    frames: int
    max_logit: float = Field(description="Largest difference of a logit.")
    max_patch: float | None = Field(description="Of a patch logit; null without patches.")
    logit_scaled: float = Field(description="The first, relative to a logit above 1.")
    patch_scaled: float | None = Field(description="The second, relative to the map's largest.")
    mean_logit: float | None = Field(default=None, description="Mean difference of a logit.")
    agreement: float = Field(ge=0, le=1, description="Share of frames with the same verdict.")
    logit_bound: float
    patch_bound: float
    shift: float = Field(default=0.0, description="Taken off every logit before.")
    loss: Loss | None = Field(default=None, description="On labelled pictures, if any were given.")

    @property
    def ok(self) -> bool:
        """Whether the differences lie within their bounds."""
        return self.logit_scaled <= self.logit_bound and (
            self.patch_scaled is None or self.patch_scaled <= self.patch_bound
        )


class Build(Strict):
    """How an engine was made."""

    route: str = Field(description="The way to its precision.")
    source: str = Field(description="Name of the file that was parsed.")
    network_flags: tuple[str, ...]
    builder_flags: tuple[str, ...]
    pinned: tuple[str, ...] = Field(default=(), description="Layers that were held to float32.")
    layers: dict[str, str] = Field(
        default={}, description="Layer of the engine → type of its results, as TensorRT reports it."
    )
    workspace_bytes: int
    seconds: float
    warnings: tuple[str, ...] = Field(default=(), description="TensorRT's, the last few.")
    refused: tuple[str, ...] = Field(default=(), description="Routes tried before, and why not.")


class Sidecar(Strict):
    """The JSON beside an engine: a plan carries nothing of its own."""

    schema_version: Literal[1] = 1
    key: EngineKey
    manifest: Manifest
    engine_sha256: str
    engine_bytes: int
    build: Build
    proof: Proof
    built_at: str = Field(description="UTC, ISO 8601.")
    patchwatch: str = Field(description="Version of the program that built it.")

    def to_json(self) -> str:
        """The text of the file."""
        return self.model_dump_json(indent=2) + "\n"


def parse_sidecar(text: str, where: str) -> Sidecar:
    """Read the JSON of a sidecar; `where` names the file in messages.

    Raises:
        EngineError: not JSON, of another schema, or with a wrong, missing or unknown field.
    """
    try:
        return Sidecar.model_validate_json(text)
    except ValidationError as error:
        raise EngineError(
            f"{where}: not the record of an engine that this patchwatch reads "
            f"({fault(error, 'the file')}). Build the engine again: "
            "patchwatch export MODEL.onnx --engine."
        ) from error
