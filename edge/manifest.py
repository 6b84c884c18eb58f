"""The manifest: what a reader must know of a model file, carried inside it.

In ONNX it is one JSON text under the key `patchwatch` of `metadata_props`, and is read from there
without ONNX or a runtime.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from edge.errors import ManifestError, ModelError, UsageError
from edge.regions import parse_region
from edge.schema import Strict, fault

SCHEMA_VERSION = 1
METADATA_KEY = "patchwatch"

# Numbers of fields in onnx.proto: ModelProto.metadata_props, and in each entry its key and value.
_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2

Preprocessing = Literal["raw", "NPR", "x_grad", "y_grad", "left_diag", "right_diag"]
Precision = Literal["fp32", "fp16", "int8"]


def _known_region(text: str) -> str:
    try:
        parse_region(text)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return text


RegionText = Annotated[str, AfterValidator(_known_region)]
"""An input region as text, checked to be one that `parse_region` takes."""


class PatchGrid(Strict):
    """Where patch (i, j) lies on the model's input, preprocessing included.

    It covers rows `offset + i·stride` to `offset + i·stride + receptive_field` (exclusive), and
    columns likewise; a negative offset reaches into the zero border of a padded filter.
    """

    receptive_field: int = Field(gt=0, description="Side of a patch in input pixels.")
    stride: int = Field(gt=0, description="Distance between neighbouring patches in input pixels.")
    offset: int = Field(default=0, description="Top and left edge of the first patch.")

    def smallest_input(self) -> int:
        """Least height and width in pixels that give one whole patch."""
        return self.receptive_field + 2 * self.offset


class Calibration(Strict):
    """From a logit to a score: sigmoid((logit − bias) / temperature) (Platt scaling)."""

    temperature: float = Field(default=1.0, gt=0)
    bias: float = Field(default=0.0, description="The logit that scores one half.")
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="Scores above it are called fake."
    )

    def score(self, logit: float) -> float:
        """Calibrated P(fake) in 0..1 of a finite logit."""
        z = (logit - self.bias) / self.temperature
        return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


class Figure(Strict):
    """One measured figure of quality."""

    data: str = Field(description="The set it was measured on.")
    degradation: str = Field(default="untouched", description="What was done to the pictures.")
    metric: str = Field(description="The measure, for instance auc.")
    value: float


class Training(Strict):
    """Where the weights come from."""

    data: str = Field(description="What it was trained on.")
    commit: str | None = Field(default=None, description="Commit of the training code.")


class Manifest(Strict):
    """What a reader must know of a model file."""

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    architecture: str = Field(min_length=1)
    preprocessing: Preprocessing
    precision: Precision = Field(default="fp32", description="Types that the file computes in.")
    parameters: Annotated[int, Field(gt=0)] | None = None
    patches: PatchGrid | None = Field(description="null for a model without a patch map.")
    region: RegionText = Field(default="native", description="Input region that it was made for.")
    face_side: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="For faces: side of the crop that is aligned by their points, in eye "
        "distances; null for an upright square of 1.3 times the face's box.",
    )
    calibration: Calibration = Calibration()
    training: Training
    validation: tuple[Figure, ...] = ()
    licence: str

    def computed_in(self, precision: Precision) -> Manifest:
        """What is true of it where a float32 file is computed in another precision."""
        changed = {"precision": precision if self.precision == "fp32" else self.precision}
        return self.model_copy(update=changed)

    def to_json(self) -> str:
        """The text that is embedded in a model file."""
        return self.model_dump_json()


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of an ONNX file.

    Raises:
        ModelError: no such file, or not an ONNX model.
        ManifestError: no manifest, a broken one or one of a newer schema.
    """
    try:
        if not (model := memoryview(path.read_bytes())):
            raise ModelError(f"{path}: the file is empty (0 bytes). Copy or export it again.")
        entries = [dict(_fields(entry)) for n, entry in _fields(model) if n == _METADATA_PROPS]
        texts = {str(e.get(_KEY, b""), "utf-8"): str(e.get(_VALUE, b""), "utf-8") for e in entries}
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: no such model file. 'patchwatch models' lists the shipped ones."
        ) from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise ModelError(
            f"{path}: not an ONNX model, or one that is cut short. Copy or export it again."
        ) from error
    if METADATA_KEY not in texts:
        raise ManifestError(
            f"{path}: carries no patchwatch manifest, so its preprocessing and calibration are "
            "unknown. Export the model with 'patchwatch export'."
        )
    return parse_manifest(texts[METADATA_KEY], str(path))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the fields of a protobuf message that have a length.

    Raises:
        ValueError: it is none.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = divmod(tag, 8)
        if number == 0 or kind not in (0, 1, 2, 5):
            raise ValueError(f"field {number} of type {kind}")
        size, at = _varint(message, at) if kind in (0, 2) else ({1: 8, 5: 4}[kind], at)
        if kind == 0:
            continue
        if at + size > len(message):
            raise ValueError(f"field {number} is longer than its message")
        if kind == 2:
            yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits to a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            break
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("a number without an end")


def parse_manifest(text: str, where: str) -> Manifest:
    """Read the JSON of a manifest; `where` names the file in messages.

    Raises:
        ManifestError: not JSON, of a newer schema, or with a wrong or unknown field.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{where}: its manifest is not JSON ({error}). Export the model again."
        ) from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ManifestError(
            f"{where}: manifest schema {version} is newer than {SCHEMA_VERSION}, the newest that "
            "this patchwatch reads. Update patchwatch, or export the model with this version."
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise ManifestError(
            f"{where}: manifest field {fault(error, 'the manifest')}. Export the model again."
        ) from error
