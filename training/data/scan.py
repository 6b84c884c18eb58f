"""Files of a folder, one at a time, in an order that does not depend on the file system."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edge.sources.images import IMAGE_SUFFIXES

_SUFFIXES = frozenset(os.fsencode(suffix) for suffix in IMAGE_SUFFIXES)


def walk(folder: bytes) -> Iterator[bytes]:
    """Every file below a folder that is named as a picture, and every folder that cannot be read.

    Links to folders are followed, but not into a folder that is being walked already. In memory are
    the names of one folder and of those above it.

    Args:
        folder: path, as the system's bytes.

    Yields:
        In the order of paths; a folder only if it cannot be read.
    """
    yield from _walk(folder, frozenset())


def _walk(folder: bytes, above: frozenset[tuple[int, int]]) -> Iterator[bytes]:
    try:
        status = os.stat(folder)
        names = _names(folder)
    except OSError:
        yield folder
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for name, is_folder in names:
        path = os.path.join(folder, name)
        if is_folder:
            yield from _walk(path, above | {here})
        else:
            yield path


def _names(folder: bytes) -> list[tuple[bytes, bool]]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = entry.is_dir()
            if is_folder or os.path.splitext(entry.name)[1].lower() in _SUFFIXES:
                found.append((entry.name, is_folder))
    return sorted(found)
