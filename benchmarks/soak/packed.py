"""The file of a film, which a camera reads with nothing but the standard library."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_KEY = 1 << 31


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded picture.

    Attributes:
        key: whether decoding can begin with it.
        payloads: of its RTP packets.
    """

    key: bool
    payloads: tuple[bytes, ...]


def write_film(path: Path, pictures: Iterable[Picture]) -> Path:
    """Write pictures one after the other."""
    with path.open("wb") as file:
        for picture in pictures:
            file.write(struct.pack(">I", len(picture.payloads) | _KEY * picture.key))
            for payload in picture.payloads:
                file.write(struct.pack(">I", len(payload)) + payload)
    return path


def read_film(path: Path) -> list[Picture]:
    """The pictures of a file."""
    with path.open("rb") as file:
        return list(_pictures(file))


def _pictures(file: BinaryIO) -> Iterator[Picture]:
    while head := file.read(4):
        word: int = struct.unpack(">I", head)[0]
        count = word & ~_KEY
        yield Picture(bool(word & _KEY), tuple(_payload(file) for _ in range(count)))


def _payload(file: BinaryIO) -> bytes:
    return file.read(struct.unpack(">I", file.read(4))[0])
