"""The bytes of a fake plan: a header, what it was built for, and the ONNX itself."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

MAGIC = b"ftrtfake"
_HEAD = struct.Struct("<8sIIQ")

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output."""

    name: str
    is_input: bool
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan says of itself."""

    archive: int
    library: str
    compute_capability: tuple[int, int]
    gpu: str
    tensors: tuple[Tensor, ...]
    profiles: tuple[dict[str, tuple[Shape, Shape, Shape]], ...]
    onnx: bytes
    layers: tuple[tuple[str, str], ...] = ()
    pins_ignored: bool = False

    def tensor(self, name: str) -> Tensor | None:
        """The input or output of that name."""
        return next((tensor for tensor in self.tensors if tensor.name == name), None)


class Unreadable(Exception):
    """Bytes that are no plan, or not all of one; the message is TensorRT's reason."""


def write_plan(plan: Plan) -> bytes:
    """Its bytes."""
    fields = asdict(plan)
    del fields["onnx"]
    fields["onnx_sha256"] = hashlib.sha256(plan.onnx).hexdigest()
    header = json.dumps(fields).encode()
    return _HEAD.pack(MAGIC, plan.archive, len(header), len(plan.onnx)) + header + plan.onnx


def read_plan(data: bytes, archive: int) -> Plan:
    """From its bytes, checked in the order in which TensorRT does."""
    if len(data) < _HEAD.size or data[: len(MAGIC)] != MAGIC:
        raise Unreadable("magicTagRead == kMAGIC_TAG failed.Magic tag does not match")
    _, found, header_bytes, onnx_bytes = _HEAD.unpack_from(data)
    if found != archive:
        raise Unreadable(
            "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: "
            f"Current Version: {archive}, Serialized Engine Version: {found}"
        )
    if len(data) != _HEAD.size + header_bytes + onnx_bytes:
        raise Unreadable(
            "sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed.Size specified in header "
            "does not match archive size"
        )
    onnx = data[_HEAD.size + header_bytes :]
    try:
        fields = json.loads(data[_HEAD.size : _HEAD.size + header_bytes])
        whole = fields.pop("onnx_sha256") == hashlib.sha256(onnx).hexdigest()
    except (ValueError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise Unreadable("")
    return _from_fields(fields, onnx)


def _from_fields(fields: dict[str, Any], onnx: bytes) -> Plan:
    fields["compute_capability"] = tuple(fields["compute_capability"])
    fields["layers"] = tuple(map(tuple, fields["layers"]))
    fields["tensors"] = tuple(
        Tensor(t["name"], t["is_input"], t["dtype"], tuple(t["shape"])) for t in fields["tensors"]
    )
    fields["profiles"] = tuple(
        {name: tuple(map(tuple, shapes)) for name, shapes in profile.items()}
        for profile in fields["profiles"]
    )
    return Plan(**fields, onnx=onnx)
