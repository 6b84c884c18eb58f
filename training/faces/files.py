"""Files that are written whole, and folders that appear when they are complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from edge.errors import SinkError, SourceError
from edge.sources.images import VIDEO_SUFFIXES
from edge.types import Image

_CHUNK_BYTES = 2**20
JPEG_QUALITY = 95


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


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file at once; its folder is made where it is absent.

    Raises:
        SinkError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
            os.replace(part, path)
        finally:
            with suppress(OSError):  # in its place by now
                part.unlink()


@contextmanager
def folder_whole(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place at the end and replaces what is there.

    What was put there goes away if an error or a stop comes between. Two processes may fill the
    same: one of them is kept.

    Raises:
        SinkError: it cannot be made.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        _clear_abandoned(path)
        part.mkdir(parents=True)
    try:
        yield part
        with writing(path):
            _put(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(part: Path, path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    try:
        os.replace(part, path)
    except OSError:
        if not path.is_dir():  # else another process was faster with the same
            raise


def _clear_abandoned(path: Path) -> None:
    """Remove what runs that were killed have left of a folder."""
    if not path.parent.is_dir():
        return
    for name in os.listdir(path.parent):
        number = name.removeprefix(f".{path.name}.").removesuffix(".part")
        if name != f".{path.name}.{number}.part" or not number.isdigit():
            continue
        if int(number) == os.getpid() or not _lives(int(number)):
            shutil.rmtree(path.parent / name, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def save_picture(path: Path, image: Image) -> None:
    """Write a picture, uint8 [H, W, 3] BGR, as its name says: .png, or .jpg of quality 95.

    The JPEG keeps its colours at full resolution.

    Raises:
        SinkError: it cannot be written.
    """
    picture = PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    with writing(path):
        if path.suffix == ".png":
            picture.save(path, compress_level=1)
        else:
            picture.save(path, quality=JPEG_QUALITY, subsampling=0)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder in the order of paths; hidden ones are left out.

    Links to folders are followed, but not into a folder that is being walked already.

    Raises:
        SourceError: a folder cannot be read.
    """
    yield from _walk(folder, frozenset())


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    try:
        status, inside = folder.stat(), sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be read ({error.strerror or error}).") from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, above | {here})
        else:
            yield path


def is_video(path: Path) -> bool:
    """Whether a file is taken for a video, by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES
