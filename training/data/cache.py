"""Decoded pictures, kept in memory up to a bound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.sources.images import read_image
from edge.types import Image

MEBIBYTE = 2**20


class PictureCache:
    """Reads pictures (path → uint8 [H, W, 3] BGR), and keeps the first of them up to `limit_mb`.

    Nothing is let go for another: when pictures are drawn evenly, no choice beats the first.
    """

    def __init__(self, limit_mb: int, read: Callable[[Path], Image] = read_image) -> None:
        self._left, self._read = limit_mb * MEBIBYTE, read
        self._kept: dict[Path, Image] = {}

    def read(self, path: Path) -> Image:
        """The picture, not to be written to; a SourceError where it cannot be read."""
        if path in self._kept:
            return self._kept[path]
        image = self._read(path)
        image.setflags(write=False)
        if image.nbytes <= self._left:
            self._left -= image.nbytes
            self._kept[path] = image
        return image
