"""One walk through folders for all that looks for files: what is scored, watched and trained on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import AnyStr

_SYSTEMS = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin"))
"""What systems and their archivers put beside the files of people."""


def is_hidden(name: str) -> bool:
    """Whether a name is of a file or folder that people do not see, such as `._cat.jpg`."""
    return name.startswith(".") or name.lower() in _SYSTEMS


def _is_folder(entry: os.DirEntry[AnyStr]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that lead in a circle
        return False


def walk(
    folder: AnyStr,
    wanted: Callable[[AnyStr], bool],
    left_out: Callable[[AnyStr], object] = lambda path: None,
    unread: Callable[[AnyStr, OSError], object] = lambda path, error: None,
    seen: set[tuple[int, int]] | None = None,
) -> Iterator[AnyStr]:
    """Every file below a folder that is wanted, by path, and without what is hidden.

    Links to folders are followed, but into no folder twice. In memory are the names of one folder
    and of those above it, and a number for each folder.

    Args:
        folder: in text or in the system's bytes, as the paths are then.
        wanted: called with the name of a file.
        left_out: called with the path of what is hidden: a file that is wanted, or a folder.
        unread: called with a folder that cannot be read, and why.
        seen: the folders where it was already.
    """
    seen = set() if seen is None else seen
    names: list[tuple[AnyStr, bool]] = []
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = _is_folder(entry)
                if not is_folder and not wanted(entry.name):
                    continue
                if is_hidden(os.fsdecode(entry.name)):
                    left_out(os.path.join(folder, entry.name))
                else:
                    names.append((entry.name, is_folder))
    except OSError as error:
        unread(folder, error)
        return
    for name, is_folder in sorted(names):
        path = os.path.join(folder, name)
        if is_folder:
            yield from walk(path, wanted, left_out, unread, seen)
        else:
            yield path
