"""Decoded pictures, kept in memory up to a bound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.sources.images import read_image
from edge.types import Image

MEBIBYTE = 2**20


class PictureCache:
    """Reads pictures, and keeps those that come first until the bound is reached.

    Nothing is let go for another: when pictures are drawn evenly, no choice beats the first.

    Args:
        limit_mb: mebibytes of pixels; 0 keeps nothing.
        read: path → uint8 [H, W, 3] BGR.
    """

    def __init__(self, limit_mb: int, read: Callable[[Path], Image] = read_image) -> None:
        self._left, self._read = limit_mb * MEBIBYTE, read
        self._kept: dict[Path, Image] = {}

    def read(self, path: Path) -> Image:
        """The picture, uint8 [H, W, 3] BGR, not to be written to.

        Raises:
            SourceError: it cannot be read.
        """
        if path in self._kept:
            return self._kept[path]
        image = self._read(path)
        image.setflags(write=False)
        if image.nbytes <= self._left:
            self._left -= image.nbytes
            self._kept[path] = image
        return image
