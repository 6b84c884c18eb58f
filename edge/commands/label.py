"""Label the frames that 'patchwatch run --keep DIR' kept, one by one.

Each is shown with what was thought of it; r says that it is real, f that it is generated, s leaves
it for later, d deletes it, b goes back to the one before, q ends. A labelled frame is moved at
once, so that nothing is lost by stopping: into DIR/train/ or DIR/val/, and there into
0_real/<camera>/ or 1_fake/<camera>/. Every third hour of a camera goes to val/, as frames of one
hour resemble each other. So DIR is a data set that train, probe, calibrate, evaluate and compare
take, alone or as one of 'data.more'.

    patchwatch run rtsp://host/stream --keep kept/
    patchwatch label kept/

Exit codes: 0 done, 1 no such folder, or one that cannot be written to, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.text import Text

from edge.errors import SinkError, SourceError, printable
from edge.files import sink_error
from edge.labels import LABEL_FOLDERS
from edge.sinks.kept import OWN
from edge.sinks.paths import file_stem, free_name
from edge.sources.images import read_image
from edge.terminal import console
from edge.types import Image

FOLDERS = dict(zip("rf", LABEL_FOLDERS, strict=True))
TRAIN, VAL = "train", "val"
EVERY = 3
"""One hour in this many of a camera is kept back, to compare models on."""

_KEYS = "r real, f generated, s later, d delete, b back, q quit"
_HOUR = len("YYYYmmdd-HH")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="of 'patchwatch run --keep'")
    parser.add_argument(
        "--no-preview", action="store_true", help="name the file, and draw no picture of it"
    )


def run(args: argparse.Namespace) -> int:
    """Show and ask until all are labelled, or the person or the input ends."""
    waiting = unlabelled(args.folder)
    passed: list[Passed] = []
    out, place = console(), 0
    while place < len(waiting):
        path = waiting[place]
        if not path.is_file():  # 'run --keep' lets the oldest go, and others may label too
            place += 1
            continue
        out.print(f"{place + 1} of {len(waiting)}: {_said(path)}", markup=False, soft_wrap=True)
        if not args.no_preview and out.is_terminal:
            _show(path)
        key = _asked(out.is_terminal)
        if key == "q":
            break
        if key == "b":
            place = _back(passed, place)
        else:
            try:
                passed.append(Passed(place, path, _act(key, path, args.folder)))
            except FileNotFoundError:
                out.print(f"{printable(path.name)} is gone.", markup=False)
            place += 1
    real, fake = (sum(one.to is not None and one.to.parent.parent.name == name for one in passed)
                  for name in LABEL_FOLDERS)  # fmt: skip
    out.print(f"{real} real, {fake} generated, {len(unlabelled(args.folder))} left.")
    return 0


def unlabelled(folder: Path) -> list[Path]:
    """The kept frames that have no label yet, the oldest first.

    Raises:
        SourceError: there is no such folder.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder. Name the one that 'run --keep' was given.")
    return sorted(p for p in folder.iterdir() if p.suffix == ".png" and OWN.fullmatch(p.name))


@dataclass(frozen=True, slots=True)
class Passed:
    """A frame that was asked about: its place in the list, where it was, and where it was moved."""

    place: int
    was: Path
    to: Path | None


def _act(key: str, path: Path, folder: Path) -> Path | None:
    """Do what a key asks for; where the frame is then, if it was labelled."""
    if key in FOLDERS:
        return label(path, folder, FOLDERS[key])
    if key == "d":
        for file in (path, path.with_suffix(".json")):
            file.unlink(missing_ok=True)
    return None


def _back(passed: list[Passed], place: int) -> int:
    """The place of the last frame before that is still there, which loses its label."""
    while passed:
        last = passed.pop()
        try:
            if last.to is not None:
                _move(last.to, last.was)
        except FileNotFoundError:
            continue
        if last.was.is_file():
            return last.place
    console().print("There is none before.")
    return place


def label(path: Path, folder: Path, name: str) -> Path:
    """Move a kept frame and what was thought of it to its label's folder below `folder`.

    Args:
        path: of the picture.
        folder: the data set.
        name: `0_real` or `1_fake`.

    Returns:
        Where the picture is then.

    Raises:
        SinkError: it cannot be moved.
        FileNotFoundError: it is gone.
    """
    camera = file_stem(str(_facts(path).get("source") or path.name.split("_")[1]))
    place = folder / split_of(path, folder, camera) / name / camera
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise sink_error(place, error) from error
    to = place / f"{free_name(place, path.stem, ['.png', '.json'])}.png"
    _move(path, to)
    return to


def split_of(path: Path, folder: Path, camera: str) -> str:
    """Where a frame belongs: with those of its camera and hour, else where there are too few.

    A camera that is new, as each of single pictures is, counts with all the others.
    """
    hour = path.name[:_HOUR]
    shown, kept_back = (_hours(folder / split, camera) for split in (TRAIN, VAL))
    for split, hours in ((TRAIN, shown), (VAL, kept_back)):
        if (camera, hour) in hours:
            return split
    if not shown and not kept_back:
        shown, kept_back = (_hours(folder / split, "*") for split in (TRAIN, VAL))
    is_due = len(kept_back) * EVERY + 1 <= len(kept_back) + len(shown)  # the 2nd, 5th, 8th …
    return VAL if is_due else TRAIN


def _hours(split: Path, camera: str) -> set[tuple[str, str]]:
    """Cameras and their hours of which there are labelled frames."""
    return {(p.parent.name, p.name[:_HOUR]) for p in split.glob(f"*/{camera}/*.png")}


def _move(was: Path, to: Path) -> None:
    try:
        shutil.move(was, to)
        if was.with_suffix(".json").exists():
            shutil.move(was.with_suffix(".json"), to.with_suffix(".json"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SinkError(f"{was} cannot be moved to {to}: {error.strerror or error}.") from error


def _facts(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(path: Path) -> str:
    facts = _facts(path)
    if not facts:
        return printable(path.name)
    score = facts.get("score")
    shown = f"{facts.get('verdict')} {score:.0%}" if isinstance(score, float) else "no score"
    return printable(f"{path.name}: {facts.get('source')}, {shown}, {facts.get('why')}")


def _asked(prompt: bool) -> str:
    """The next key that means something; q where the input ends."""
    while True:
        if prompt:
            console().print(f"{_KEYS}: ", end="")
        line = sys.stdin.readline()
        key = line.strip().lower()[:1]
        if not line:
            return "q"
        if key in (*FOLDERS, "s", "d", "b", "q"):
            return key
        console().print(f"Expected one of: {_KEYS}.")


def _show(path: Path) -> None:
    out = console()
    try:
        out.print(preview(read_image(path), min(out.width, 100)))
    except SourceError as error:
        out.print(str(error), markup=False, soft_wrap=True)


def preview(image: Image, columns: int) -> Text:
    """A picture, uint8 [H, W, 3] BGR, as text of so many columns: two pixels to a character."""
    rows = max(1, round(columns * image.shape[0] / image.shape[1] / 2))
    small = cv2.resize(image, (columns, 2 * rows), interpolation=cv2.INTER_AREA)
    text = Text(no_wrap=True)
    lines = np.asarray(small, np.uint8)
    for upper, lower in zip(lines[::2], lines[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", f"{_colour(above)} on {_colour(below)}")
        text.append("\n")
    return text


def _colour(bgr: Image) -> str:
    return "#" + "".join(f"{value:02x}" for value in bgr[::-1])
