"""Folders that appear when they are complete, lines that only grow, and pictures."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from edge.errors import ModelError, PatchwatchError, SinkError
from edge.signals import uninterrupted
from edge.types import Image

JPEG_QUALITY = 95

Stamp = tuple[str, int, int]
"""Absolute path, size in bytes and time of change in ns of a file."""


def stamp(path: Path) -> Stamp:
    """What tells whether a file has changed; zeros where it is gone, as opening it tells more."""
    try:
        status = path.stat()
    except OSError:
        return str(path.absolute()), 0, 0
    return str(path.absolute()), status.st_size, status.st_mtime_ns


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals within the block into a sentence that names the path.

    Raises:
        SinkError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def reading(path: Path, kind: type[PatchwatchError] = ModelError) -> Iterator[None]:
    """Turn the system's refusals within the block into an error of a kind that names the path."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror or error}.") from error


class JsonLines:
    """A file to which lines of JSON are added; one that a killed run left torn is passed over.

    Args:
        path: of the file; made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._torn = False

    def read(self) -> Iterator[Any]:
        """Every whole line.

        Raises:
            SinkError: the file cannot be read.
        """
        try:
            text = self.path.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise SinkError(f"{self.path} cannot be read ({error.strerror or error}).") from error
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def add(self, value: Any) -> None:
        """Write a line, in one piece even where Ctrl-C comes.

        Raises:
            SinkError: it cannot be written.
        """
        with uninterrupted(), writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._torn else "") + json.dumps(value) + "\n")
            self._torn = False


@contextmanager
def folder_whole(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place at the end and replaces what is there.

    What was put there goes away if an error or a stop comes between. Two processes may fill the
    same: one of them is kept. A SinkError says that it cannot be made.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        _clear_abandoned(path)
        part.mkdir(parents=True)
    try:
        yield part
        with writing(path):
            shutil.rmtree(path, ignore_errors=True)
            try:
                os.replace(part, path)
            except OSError:
                if not path.is_dir():  # else another process was faster with the same
                    raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _clear_abandoned(path: Path) -> None:
    """Remove what runs that were killed have left of a folder."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        number = left.name.removeprefix(f".{path.name}.").removesuffix(".part")
        if number.isdigit() and (int(number) == os.getpid() or not _lives(int(number))):
            shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def save_picture(path: Path, image: Image) -> None:
    """Write uint8 [H, W, 3] BGR as .png, or as .jpg of quality 95 with full colour."""
    picture = PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    with writing(path):
        if path.suffix == ".png":
            picture.save(path, compress_level=1)
        else:
            picture.save(path, quality=JPEG_QUALITY, subsampling=0)
