"""Cut portraits out of the pictures of a training set, as sources of their own.

Generators that draw one face in the middle of a picture are many, collections of photographs that
show nothing else are few: a detector learns that a portrait is generated. Each face of at least
--face pixels, two of a picture at most, is cut out with what is around it, of both labels alike.
What is found in 0_real/NAME/ and 1_fake/NAME/ goes to 0_real/NAME-portraits/ and likewise.

    patchwatch data portraits pictures/train --output pictures/train

Portraits that are there already are kept, and none is ever half written: the same command goes on
where it was stopped. Exit codes: 0, 1 no such folder, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge.errors import SourceError
from edge.faces.finder import FaceFinder, largest_first
from edge.files import write_whole
from edge.labels import add_label_folders
from edge.signals import stop_signals
from edge.sources.images import read_image
from edge.terminal import console, positive
from edge.types import Box, Image
from training.data.folders import Picture, find_pictures, identity, label_parts
from training.progress import advancing
from training.validation import limited

SUFFIX = "-portraits"
OF_A_PICTURE = 2
AROUND = (1.6, 2.6)
"""Sides of a portrait, least and most, in sides of its face."""

LEAST_SIDE = 128
MOST_SHARE = 0.8
"""Of a picture; one that is a portrait already is none to be cut out."""

_LONGEST_STEM = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="holds 0_real/NAME/… and 1_fake/NAME/…")
    add_label_folders(parser)
    add("--output", type=Path, required=True, metavar="DIR", help="may be FOLDER itself")
    add("--face", type=positive, default=80, metavar="PX", help="least side (default: 80)")
    add("--per-source", type=positive, default=30, metavar="N", help="pictures (default: 30)")


def run(args: argparse.Namespace) -> int:
    """Find faces, cut, and say how many."""
    parts = label_parts(args.folder, args.label_folders)
    for label in {0, 1} - {part.label for part in parts}:
        raise SourceError(
            f"{args.folder / args.label_folders.names(label)[0]} is no folder. Expected "
            f"{args.folder} to hold folders of both labels ({args.label_folders.describe()})."
        )
    found = [p for p in find_pictures(parts) if not p.source.endswith(SUFFIX)]
    pictures = limited(sorted(found, key=lambda p: p.path), args.per_source)
    counts = [0, 0]
    note = "cutting portraits"
    with stop_signals(), FaceFinder() as finder, advancing(note, len(pictures)) as advance:
        for picture in pictures:
            counts[picture.label] += cut_out(picture, finder, args.folder, args.output, args.face)
            advance()
    console().print(f"{counts[0]} portraits of photographs, {counts[1]} of generated pictures")
    return 0


def cut_out(picture: Picture, finder: FaceFinder, data: Path, output: Path, face: int) -> int:
    """Write the portraits of one picture of a data set as PNG; how many there are. None of a broken
    file.

    Raises:
        SinkError: the folder cannot be written to.
    """
    try:
        image = read_image(picture.path)
    except SourceError:
        return 0
    label = picture.path.relative_to(data).parts[0]
    folder = output / label / f"{picture.source}{SUFFIX}"
    # Pictures of one name may lie in several folders of a source.
    name = f"{picture.path.stem[:_LONGEST_STEM]}-{identity(picture, data)}"
    count = 0
    for number, (top, bottom, left, right) in enumerate(portraits(image, finder, face)):
        path = folder / f"{name}-{number}.png"
        if not path.exists():
            write_whole(path, cv2.imencode(".png", image[top:bottom, left:right])[1].tobytes())
        count += 1
    return count


def portraits(image: Image, finder: FaceFinder, face: int) -> Iterator[Box]:
    """Top, bottom, left and right of each portrait in uint8 [H, W, 3] BGR, the largest first."""
    height, width = image.shape[:2]
    seed = int.from_bytes(hashlib.sha256(image[:: height // 8 + 1].tobytes()).digest()[:8], "big")
    rng, count = np.random.default_rng(seed), 0
    for found in largest_first(finder.find(image)):
        left, top, right, bottom = found.xyxy
        side = max(right - left, bottom - top)
        half = side * rng.uniform(*AROUND) / 2
        # A little above the face's middle, as hair is part of a portrait.
        x, y = (left + right) / 2, (top + bottom) / 2 - 0.05 * side
        rows = max(int(y - half), 0), min(int(y + half), height)
        columns = max(int(x - half), 0), min(int(x + half), width)
        tall, wide = rows[1] - rows[0], columns[1] - columns[0]
        is_whole = tall * wide > MOST_SHARE * height * width
        if side >= face and min(tall, wide) >= LEAST_SIDE and not is_whole:
            yield (*rows, *columns)
            count += 1
        if count == OF_A_PICTURE:
            return
