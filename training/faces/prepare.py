"""Prepare a set of face crops from a data set of videos that you have; nothing is downloaded.

Frames are taken at moments of presentation time, faces are found in them, and cut out upright, as
the device does. Crops are kept in a cache folder that sets share, so that the same command
goes on where it was stopped, and a video that is known is not decoded again.

    patchwatch data prepare faceforensics FF++/ --output sets/base
    patchwatch data prepare faceforensics FF++/ --output sets/base --script download_v4.py
    patchwatch data prepare youtube augment_deepfake/ --output sets/augment
    patchwatch data prepare clips clips/ --output sets/clips --fps 6
    patchwatch data prepare combine sets/base sets/augment --output sets/both

Exit codes: 0 done (what is missing is said), 1 nothing is there (with --strict also damaged
files), 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from edge.errors import PatchwatchError, SinkError, SourceError, UsageError
from edge.faces import FaceFinder
from edge.files import cache_folder
from edge.labels import add_label_folders
from edge.signals import Stopped, stop_signals
from edge.terminal import console, positive
from edge.words import counted
from training.faces import trees
from training.faces.crops import SIZE, CropCache, Opener, Recipe
from training.faces.sets import (
    LABELS,
    MANIFEST,
    SPLITS,
    FaceSet,
    Origin,
    SetManifest,
    Source,
    Split,
    Store,
    Video,
    combined,
    load_set,
    shown_from,
    without_copies,
    write_set,
)
from training.faces.split import ACTOR, ORIGINAL_VAL, Sides, deal_out, read_official, shared_people
from training.faces.trees import Clip, Tree, named
from training.faces.workers import add_workers
from training.flags import add_flags
from training.progress import print_table

LONGEST_SIDE = 1280
"""Larger than on the device, as time matters less here than a face that is missed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the data sets with their flags."""
    kinds = parser.add_subparsers(
        title="data sets", metavar="SET", required=True, parser_class=type(parser)
    )

    def add_kind(
        name: str, prepare: Callable[[argparse.Namespace], FaceSet], help: str, description: str
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = kinds.add_parser(
            name,
            help=help,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument("--output", type=Path, required=True, metavar="SET", help="its folder")
        made.set_defaults(prepare=prepare)
        return made

    about, tell = str(trees.__doc__), "FaceForensics++, as its own script lays it out"
    access = f"{about}\n{trees.FACEFORENSICS_ACCESS}"
    tree = add_kind("faceforensics", prepare_faceforensics, tell, access)
    _add_cutting(tree)
    tree.add_argument(
        "--compression",
        choices=trees.COMPRESSIONS,
        default=trees.DEFAULT_COMPRESSION,
        help=f"of the videos (default: {trees.DEFAULT_COMPRESSION})",
    )
    tree.add_argument(
        "--splits",
        type=Path,
        metavar="DIR",
        help="folder with the published train.json, val.json and test.json (default: the "
        "validation people of the first model, and everybody else dealt out)",
    )
    tree.add_argument(
        "--script",
        type=Path,
        metavar="PY",
        help="the authors' download script, with which ROOT is filled first; whoever gives it "
        "accepts their terms, which it asks for",
    )
    tree.add_argument(
        "--videos", type=positive, metavar="N", help="of each kind that are downloaded (all)"
    )
    tree.add_argument(
        "--server", default="EU2", help="that the script downloads from (default: EU2)"
    )
    access = f"{about}\n{trees.YOUTUBE_ACCESS}"
    _add_cutting(add_kind("youtube", prepare_youtube, "the YouTube set", access))
    clips = add_kind("clips", prepare_clips, "clips by split, label and source", about)
    _add_cutting(clips)
    add_label_folders(clips)
    both = add_kind("combine", combine, "prepared sets as one", str(combined.__doc__))
    both.add_argument("sets", type=Path, nargs="+", metavar="SET", help="prepared before")


def _add_cutting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of the data set")
    add_flags(parser, "--fps", "--png")
    parser.add_argument(
        "--longest-side",
        type=positive,
        default=LONGEST_SIDE,
        metavar="PX",
        help=f"frames are shrunk to it before faces are looked for (default: {LONGEST_SIDE})",
    )
    parser.add_argument(
        "--faces",
        type=positive,
        default=1,
        metavar="N",
        help="faces kept of a frame, the largest first (default: 1, as a fake has one false face)",
    )
    parser.add_argument(
        "--size", type=positive, default=SIZE, metavar="PX", help=f"of a crop (default: {SIZE})"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="for crops (default: the user's cache)"
    )
    add_workers(parser)
    parser.add_argument("--strict", action="store_true", help="exit 1 for damaged files too")


def run(args: argparse.Namespace) -> int:
    """Prepare, and show what there is; see the module's text for the exit codes.

    Raises:
        UsageError: a flag is wrong.
        SourceError: nothing is there.
        SinkError: the set cannot be written, or the folder holds something else.
    """
    if args.output.exists() and not args.output.is_dir():
        raise SinkError(f"{args.output} is a file. Name a folder for the set.")
    used = args.output.is_dir() and any(args.output.iterdir())
    if used and not (args.output / MANIFEST).exists():
        raise SinkError(
            f"{args.output} is not empty and holds no prepared set. Name a new folder for this one."
        )
    try:
        with stop_signals():
            made: FaceSet = args.prepare(args)
    except Stopped as stopped:
        console().print("Stopped. The same command goes on from here.")
        return stopped.exit_code
    out, access = Console(highlight=False), [origin.access for origin in made.manifest.origins]
    _say(out, made.manifest.notes)
    print_table(out, counts_table(made.videos()))
    _say(out, (*dict.fromkeys(access), f"The set is in {made.folder}."))
    return 1 if getattr(args, "strict", False) and any(v.fault for v in made.videos()) else 0


def prepare_faceforensics(args: argparse.Namespace) -> FaceSet:
    """Find the videos of the tree, deal people out, cut the faces."""
    if args.script:
        _download(args)
    tree = trees.find_faceforensics(args.root, args.compression)
    official = read_official(args.splits) if args.splits else {}
    # Whom the first model's validation holds; with the published lists, its actors alone.
    first = {n: "val" for n in ORIGINAL_VAL if n.startswith(ACTOR) or not official}
    fixed: dict[str, Split] = {**first, **_earlier(args.output), **official}  # type: ignore[dict-item]
    sides = deal_out((clip.people for clip in tree.clips), fixed)
    placed = [replace(clip, split=sides.split(clip.people)) for clip in tree.clips]
    notes = [*tree.notes, *_dealing_notes(tree, placed, sides, official)]
    clips = tuple(clip for clip in placed if clip.split is not None)
    cut = replace(tree, clips=clips, notes=())
    made = _cut(args, "faceforensics", trees.FACEFORENSICS_ACCESS, cut)
    notes += [_people_note(made.videos)]
    return write_set(args.output, made.model_copy(update={"notes": (*notes, *made.notes)}))


def _download(args: argparse.Namespace) -> None:
    """Let the authors' script fill the tree, one kind of video after the other."""
    if not args.script.is_file():
        raise UsageError(f"--script {args.script}: no such file. {trees.FACEFORENSICS_ACCESS}")
    number = ["-n", str(args.videos)] if args.videos else []
    for kind in ("original", "DeepFakeDetection_original", *trees.MANIPULATIONS):
        console().print(f"downloading {kind}", markup=False)
        words = [str(args.root), "-d", kind, "-c", args.compression, "-t", "videos", *number]
        # It waits for a key as a sign that the terms are accepted.
        done = subprocess.run(
            [sys.executable, str(args.script), *words, "--server", args.server],
            input="\n", text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SourceError(
                f"{args.script} ended with exit code {done.returncode} at {kind}; what it said is "
                "above. The same command goes on; --server names another server."
            )


def prepare_youtube(args: argparse.Namespace) -> FaceSet:
    """Find the videos of the folders, cut the faces."""
    tree = trees.find_youtube(args.root)
    return write_set(args.output, _cut(args, "youtube", trees.YOUTUBE_ACCESS, tree))


def prepare_clips(args: argparse.Namespace) -> FaceSet:
    """Find the videos of the sources, cut the faces."""
    tree = trees.find_clips(args.root, args.label_folders)
    return write_set(args.output, _cut(args, "clips", trees.CLIPS_ACCESS, tree))


def combine(args: argparse.Namespace) -> FaceSet:
    """Make one set of several."""
    if len(args.sets) < 2:
        raise UsageError("combine: expected at least two prepared sets, found one.")
    return write_set(args.output, combined([load_set(path) for path in args.sets], args.output))


def counts_table(videos: Sequence[Video]) -> Table:
    """Videos, frames and faces of each source, split, label and manipulation, with their sums."""
    groups: defaultdict[tuple[str, ...], list[Video]] = defaultdict(list)
    for video in videos:
        groups[video.source, video.split, video.label, video.manipulation or ""].append(video)
    splits, labels = list(map(str, SPLITS)), list(map(str, LABELS))
    order = sorted(groups, key=lambda k: (k[0], splits.index(k[1]), labels.index(k[2]), k[3]))
    table = Table(box=SIMPLE, pad_edge=False, show_footer=len(order) > 1)
    for name, footer in (("set", "all"), ("split", ""), ("label", ""), ("manipulation", "")):
        table.add_column(name, footer=footer, no_wrap=True)
    for name, total in zip(_COUNTS, _counts(videos), strict=True):
        table.add_column(name, footer=total, justify="right")
    for kind in order:
        table.add_row(*kind, *_counts(groups[kind]))
    return table


_COUNTED = ("sha256", "frames", "faces", "without_face", "further_faces", "fault")
_COUNTS: Mapping[str, Any] = {
    "videos": lambda video: 1,
    "frames": lambda video: video.frames,
    "faces": lambda video: video.faces,
    "without a face": lambda video: video.without_face,
    "videos without any": lambda video: not video.faces,
}


def _counts(videos: Sequence[Video]) -> list[str]:
    return [str(sum(map(value, videos))) for value in _COUNTS.values()]


def _cut(args: argparse.Namespace, source: Source, access: str, tree: Tree) -> SetManifest:
    """Cut the faces of all clips, which must have their splits."""
    opener: Opener = partial(FaceFinder, args.longest_side)
    with opener() as finder:
        recipe = Recipe(finder.name, finder.key, args.fps, args.size, args.faces, args.png)
    cache = CropCache(args.cache or cache_folder() / "faces", recipe, opener)
    cuts = cache.cut_all([clip.path for clip in tree.clips], args.workers)
    videos = [
        Video(
            path=clip.path.relative_to(tree.root).as_posix(),
            split=clip.split or "train",
            label=clip.label,
            source=clip.source or source,
            manipulation=clip.manipulation,
            compression=clip.compression,
            people=clip.people,
            **{name: getattr(cuts[clip.path], name) for name in _COUNTED},
        )
        for clip in tree.clips
    ]
    kept, copies = without_copies(video for video in videos if video.frames)
    damaged = list(_damage_notes(videos))
    if not kept:
        raise SourceError(
            f"{tree.root}: none of {counted(len(videos), 'video')} can be decoded. "
            + " ".join(damaged)
        )
    store = Store(
        folder=shown_from(args.output, cache.store),
        detector=recipe.detector,
        detector_key=recipe.detector_key,
        face_side=recipe.side,
        size=recipe.size,
        fps=recipe.fps,
        most_faces=recipe.most_faces,
        format="png" if recipe.png else "jpg",
    )
    return SetManifest(
        schema=1,
        origins=(Origin(source=source, root=str(tree.root.resolve()), access=access),),
        stores=(store,),
        notes=(*tree.notes, *copies, *damaged, *_face_notes(kept)),
        videos=tuple(kept),
    )


def _earlier(folder: Path) -> dict[str, Split]:
    """The sides that people have in the set that is replaced, so that it may grow."""
    try:
        videos = load_set(folder).videos()
    except SourceError:  # there is none yet, or one that is not understood any more
        return {}
    return {name: video.split for video in videos for name in video.people}


def _dealing_notes(
    tree: Tree, placed: Sequence[Clip], sides: Sides, official: Mapping[str, Split]
) -> Iterator[str]:
    if official:
        people = {name for clip in tree.clips for name in clip.people}
        unlisted = sorted(n for n in people - official.keys() if not n.startswith(ACTOR))
        yield "Splits: the published lists, and actors dealt out by who meets in a video."
        if unlisted:
            yield named("Not in the published lists, and dealt out like actors", unlisted)
    else:
        yield (
            "Splits: the first model's validation people and whoever meets them in a video; "
            "everybody else dealt out in groups that meet in a video."
        )
    for size in sides.cut:
        yield (
            f"A group of {size} people who meet in videos is too large for one split, or is in two "
            "already; its people were dealt out one by one."
        )
    across = [clip.path.relative_to(tree.root) for clip in placed if clip.split is None]
    if across:
        videos = counted(len(across), "video")
        yield named(f"Left out: {videos} whose people are on two sides", across)
    empty = [split for split in SPLITS if split not in {clip.split for clip in placed}]
    if empty:
        yield f"Nobody is left for {' and '.join(empty)}: there are too few groups of people."


def _people_note(videos: Sequence[Video]) -> str:
    """Checked once more on what is written, whatever the dealing meant to do."""
    shared = shared_people((video.people, video.split) for video in videos)
    if shared:
        raise PatchwatchError(
            named("These people are in two splits; nothing was written", [*shared])
        )
    people = {name for video in videos for name in video.people}
    shown = counted(len(videos), "video")
    return f"Checked: none of {len(people)} people in {shown} is in two splits."


def _damage_notes(videos: Sequence[Video]) -> Iterator[str]:
    for video in videos:
        if video.fault:
            left = (
                f"{counted(video.frames, 'frame of it is', 'frames of it are')} used"
                if video.frames
                else "it is left out"
            )
            yield f"{video.path}: {video.fault.rstrip('.')}; {left}."


def _face_notes(videos: Sequence[Video]) -> Iterator[str]:
    without = [video.path for video in videos if not video.faces]
    if without:
        yield named(
            f"No face was found in {len(without)} of {counted(len(videos), 'video')}", without
        )
    further = sum(video.further_faces for video in videos)
    if further:
        yield f"{counted(further, 'smaller face')} beside the largest not kept; --faces keeps more."


def _say(out: Console, lines: Iterable[str]) -> None:
    for line in lines:  # names of files may hold bytes that are no text
        out.print(line.encode(errors="replace").decode(), markup=False, soft_wrap=True)
