"""Several sources of a command line: what a shell made of a pattern, and what a folder holds."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edge.errors import NotFound, SourceError
from edge.sinks.paths import file_stem
from edge.sources import expand
from edge.sources.address import scheme_of
from edge.sources.images import VIDEO_SUFFIXES, is_image, is_picture, missing
from edge.sources.walk import walk
from edge.words import counted

log = logging.getLogger(__name__)

_MOST = 16
"""Videos of a folder that are watched side by side."""


def spread(texts: Sequence[str]) -> list[str]:
    """The sources, with the videos in place of a folder or a pattern that holds them alone.

    Raises:
        SourceError: they are too many to be watched side by side.
        NotFound: one of several pictures is not there.
    """
    for text in texts if len(texts) > 1 else ():
        is_place = scheme_of(text) or glob.has_magic(text) or os.path.exists(expand(text))
        if is_image(text) and not is_place:
            raise NotFound(f"{text}: {missing(text)}.")
    return [source for text in texts for source in _videos_of(text) or [text]]


def all_pictures(texts: Sequence[str]) -> bool:
    """Whether these are several pictures, as a shell makes them of `*.jpg`."""
    return len(texts) > 1 and all(os.path.isfile(text) and is_picture(Path(text)) for text in texts)


def names_of(texts: Sequence[str]) -> list[str]:
    """What several sources are called: files by their own names, cameras cam1, cam2 and so on.

    Files whose names differ by folder or suffix alone have their number before them.
    """
    names = [
        os.path.basename(text) if os.path.isfile(text) else f"cam{n}"
        for n, text in enumerate(texts, start=1)
    ]
    stems = Counter(map(file_stem, names))
    return [
        f"{n} {name}" if stems[file_stem(name)] > 1 else name
        for n, name in enumerate(names, start=1)
    ]


def _videos_of(text: str) -> list[str]:
    if scheme_of(text) is not None or not text.strip():
        return []
    path = str(expand(text))
    if os.path.isdir(path):
        found = list(walk(path, lambda name: True))
    elif glob.has_magic(text) and not os.path.lexists(path):
        found = sorted(glob.glob(path, recursive=True))
    else:
        return []
    videos = [file for file in found if Path(file).suffix.lower() in VIDEO_SUFFIXES]
    if any(is_image(file) for file in found):
        if videos:
            log.warning(
                "%s: its pictures are shown, and %s left out. Name videos by themselves, or "
                "judge all with 'patchwatch score'.",
                text,
                counted(len(videos), "video is", "videos are"),
            )
        return []
    if len(videos) > _MOST:
        raise SourceError(
            f"{text}: {len(videos)} videos are too many to be watched side by side (at most "
            f"{_MOST}). 'patchwatch score {text}' judges each; or give some of them by name."
        )
    return videos
