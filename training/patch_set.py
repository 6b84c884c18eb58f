"""Kept patches with their teacher's logits, as one file that is streamed, bounded and verified.

A `NAME.patches.safetensors` holds `patches` uint8 [N, 10, 10, 3] BGR, `logits` float32 [N], and of
each patch the label of its picture, `labels` uint8 [N] (real 0, fake 1). Its metadata says who
judged them, how they were cut, and the SHA-256 of what follows the header. Written from front to
back, and read through a memory map, so that neither side holds the patches in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from edge.errors import ModelError
from edge.types import FloatArray
from training.data.samples import Sample
from training.files import reading, writing

SUFFIX = ".patches.safetensors"
SIDE = 10
_NAMES = ("patches", "logits", "labels")
_TYPES = {"patches": ("U8", np.uint8), "logits": ("F32", np.float32), "labels": ("U8", np.uint8)}
_DIGEST, _CHUNK = "sha256", 2**22

Patches = npt.NDArray[np.uint8]
Part = tuple[Patches, FloatArray, int]
"""Patches uint8 [n, 10, 10, 3] BGR of one picture, their logits float32 [n], its label."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchSet:
    """An open file of patches; the arrays are memory maps, and `facts` is its metadata."""

    patches: Patches
    logits: FloatArray
    labels: Patches
    facts: Mapping[str, str]


def write_patches(path: Path, parts: Iterator[Part], count: int, facts: Mapping[str, str]) -> None:
    """Write a file of exactly `count` patches, part after part, whole or not at all.

    Raises:
        SinkError: it cannot be written.
        ValueError: the parts hold another number of patches.
    """
    beside = path.with_name(f".{path.name}.part")
    digest, logits, labels = hashlib.sha256(), [], []
    try:
        with writing(path), beside.open("wb") as file:
            file.write(_header(count, {**facts, _DIGEST: "0" * 64}))
            for patches, judged, label in parts:
                data = np.ascontiguousarray(patches).tobytes()
                digest.update(data)
                file.write(data)
                logits.append(judged.astype(np.float32))
                labels.append(np.full(len(judged), label, np.uint8))
            for column in (np.concatenate(logits), np.concatenate(labels)):
                if len(column) != count:
                    raise ValueError(f"expected {count} patches, found {len(column)}")
                digest.update(column.tobytes())
                file.write(column.tobytes())
            file.seek(0)
            file.write(_header(count, {**facts, _DIGEST: digest.hexdigest()}))
        with writing(path):
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_patches(path: Path) -> PatchSet:
    """Open a file of patches, once its content was found to be what was written.

    Raises:
        ModelError: it cannot be read, is no such file, or was cut short or changed.
    """
    try:
        with reading(path), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        facts = header["__metadata__"]
        whole = facts[_DIGEST] == digest.hexdigest()
        columns = {name: header[name] for name in _NAMES}
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ModelError(
            f"{path}: expected a file of 'patchwatch patches', found something else."
        ) from error
    if not whole:
        raise ModelError(f"{path} was cut short or changed since it was written. Make it again.")
    start = 8 + length
    arrays = {
        name: np.memmap(
            path,
            _TYPES[name][1],
            "r",
            start + columns[name]["data_offsets"][0],
            tuple(columns[name]["shape"]),
        )
        for name in _NAMES
    }
    return PatchSet(arrays["patches"], arrays["logits"], arrays["labels"], facts)


def _header(count: int, facts: Mapping[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(facts)}
    begin = 0
    for name in _NAMES:
        shape = (count, SIDE, SIDE, 3) if name == "patches" else (count,)
        end = begin + int(np.prod(shape)) * np.dtype(_TYPES[name][1]).itemsize
        header[name] = {
            "dtype": _TYPES[name][0],
            "shape": shape,
            "data_offsets": (begin, end),
        }
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


class KeptPatches(Dataset[Sample]):
    """An endless, reproducible sequence of kept patches: item i depends on the seed and i alone.

    Args:
        kept: an open file.
        seed: of what is drawn.
    """

    def __init__(self, kept: PatchSet, seed: int) -> None:
        self._kept, self._seed = kept, seed

    def __getitem__(self, index: int) -> Sample:
        count = len(self._kept.logits)
        epoch, place = divmod(index, count)
        # One way through all of them and back to the start: a step that shares no factor with
        # their number, another one in each pass.
        rng = np.random.default_rng((self._seed, epoch))
        start, stride = (int(rng.integers(count)) for _ in range(2))
        while np.gcd(stride, count) != 1:
            stride += 1
        at = (start + place * stride) % count
        return {
            "frames": np.asarray(self._kept.patches[at]),
            "label": int(self._kept.labels[at]),
            "source": 0,
            "logit": float(self._kept.logits[at]),
        }
