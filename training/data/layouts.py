"""How published data sets, and our own, lie in folders.

Labels come from named folders alone: `0_real`, `1_fake` and what --label-folders names. `source` is
what a draw or a figure is balanced over. In ForenSynth, `classes` selects among the classes of
train. Where it has no val/, test/progan stands for it: then the figures of `test/progan` are of
pictures that a step was chosen on. In UniversalFakeDetect, tests only, `guided` pairs with the
photographs of imagenet, the others with those of laion, unless a generator has a 0_real of its own.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from edge.errors import SourceError, UsageError
from edge.labels import FORM, STANDARD, LabelFolders
from edge.sources.walk import is_hidden
from training.data.folders import Part, label_parts
from training.faces.sets import LABELS, MANIFEST, is_set, load_set

AUTO = "auto"
TRAIN, VAL, TEST = "train", "val", "test"

Plan = Mapping[str, Sequence[Part]]
"""Per split the folders that it is made of."""

_LAION = ("ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10")
_UFD_REALS = {"guided": "imagenet", "dalle": "laion", **dict.fromkeys(_LAION, "laion")}
_SHOWN_FOLDERS = 8
_log = logging.getLogger(__name__)


class Row(NamedTuple):
    """Folders with both labels: a pattern below the root, their split, and their sources.

    `{0}` is the first folder of the match. Without sources, the folder below each label's is one.
    `selected` is the place in the match of what `classes` chooses among.
    """

    folder: str
    split: str
    real: str | None = None
    fake: str | None = None
    selected: int | None = None


class Layout(NamedTuple):
    """A way to lay out a data set.

    `shape` is how it looks, for people; a folder fits that has a split whose name begins with one
    of `marks`.
    """

    shape: str
    rows: tuple[Row, ...]
    marks: tuple[str, ...] = ("",)


_TESTS = (
    Row("test/*", "test/{1}", "{1}", "{1}"),
    Row("test/*/*", "test/{1}", "{1}", "{1}"),
)
LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "shards": Layout("shards.json of 'patchwatch data shards'", ()),
        "faces": Layout(f"{MANIFEST} of 'patchwatch data prepare'", ()),
        "plain": Layout("{0_real,1_fake}/…", (Row("", "all"),)),
        "forensynth": Layout(
            "train/progan/<class>/{0_real,1_fake} and test/<generator>[/<class>]/{0_real,1_fake}",
            (
                Row("train/progan/*", TRAIN, "{2}", "progan/{2}", 2),
                Row("train/*", TRAIN, "{1}", "progan/{1}", 1),
                Row("val/progan/*", VAL, "progan", "progan"),
                Row("val/*", VAL, "progan", "progan"),
                *_TESTS,
            ),
            (TRAIN, VAL, "test/progan"),
        ),
        "wildrf": Layout(
            "{train,val}/{0_real,1_fake} and test/<platform>/{0_real,1_fake}",
            (Row("train", TRAIN), Row("val", VAL), *_TESTS),
            ("test/",),
        ),
        "splits": Layout(
            "{train,val,test}/{0_real,1_fake}/<source>",
            tuple(Row(split, split) for split in (TRAIN, VAL, TEST)),
        ),
        "ufd": Layout(
            "<generator>/1_fake with {imagenet,laion}/0_real",
            (Row("*", "test/{0}", "{0}", "{0}"),),
            tuple(f"test/{name}" for name in _UFD_REALS),
        ),
    }
)
"""By name, in the order in which they are tried."""


def require_folder(root: Path) -> None:
    """Raises a SourceError where there is no such folder."""
    if not root.is_dir():
        raise SourceError(f"{root} is no folder. Give the folder of a data set.")


def refuse_shards(root: Path) -> None:
    """Raises a SourceError where a folder has shards, which few commands read."""
    if (root / "shards.json").is_file():
        raise SourceError(
            f"{root} has shards, which only 'train' and 'distill' read. Give a folder of pictures."
        )


def plan_splits(
    root: Path,
    layout: str,
    classes: Sequence[str] = (),
    labels: LabelFolders = STANDARD,
) -> tuple[str, Plan]:
    """The layout's name (found out with "auto") and, per split, the folders that make it up.

    A folder beside those that fits neither label is left out, and said.

    Raises:
        SourceError: the folder is missing, fits no layout, or lacks a class.
        UsageError: no such layout or class.
    """
    require_folder(root)
    name = recognised(root, labels) if layout == AUTO else layout
    if name in (None, "shards"):
        refuse_shards(root)
    if name is None:
        raise SourceError(
            f"{root} has none of the known layouts: {_expected(root, list(LAYOUTS))} If folders "
            f"of other names say the label, give --label-folders {FORM}."
        )
    if name not in LAYOUTS:
        raise UsageError(f"no layout {name!r}. Known are {AUTO}, {', '.join(LAYOUTS)}.")
    known: dict[str, None] = {}
    plan = _plan(root, name, classes, known, labels)
    _require_classes(root, name, list(known), classes)
    if not plan:
        raise SourceError(f"{root} is not laid out as {name}: {_expected(root, [name])}")
    for part in (part for parts in plan.values() for part in parts):
        if not part.folder.is_dir():
            raise SourceError(
                f"{part.folder} is missing. Expected folders of both labels: a detector learns "
                "from the difference."
            )
    if name != "faces":
        _say_neither([part.folder for parts in plan.values() for part in parts], labels)
    return name, plan


def _say_neither(folders: Sequence[Path], labels: LabelFolders) -> None:
    for place in dict.fromkeys(folder.parent for folder in folders):
        inside = [child for child in _children(place) if not is_hidden(child.name)]
        if others := [c.name for c in inside if not any(c in (f, *f.parents) for f in folders)]:
            _log.warning(
                "%s: %s %s neither real nor generated by name (%s), and left out. Name folders of "
                "a label with --label-folders.",
                place,
                ", ".join(others),
                "is" if len(others) == 1 else "are",
                labels.describe(),
            )


def recognised(root: Path, labels: LabelFolders) -> str | None:
    """The name of the first layout that a folder fits; None where it fits none."""
    for name, layout in LAYOUTS.items():
        if any(split.startswith(layout.marks) for split in _plan(root, name, (), {}, labels)):
            return name
    return None


def find_root(folder: Path) -> Path | None:
    """The data set in a folder: itself, or what lies below it in one folder that is alone there."""
    if recognised(folder, STANDARD):
        return folder
    inside = [child for child in _children(folder) if not is_hidden(child.name)]
    return find_root(inside[0]) if len(inside) == 1 else None


def _plan(
    root: Path,
    name: str,
    classes: Sequence[str],
    known: dict[str, None],
    labels: LabelFolders,
) -> dict[str, list[Part]]:
    """The plan of a layout, empty where nothing fits; `known` gets what `classes` may choose."""
    layout = LAYOUTS[name]
    of_label = [labels.names(label) for label in (0, 1)]
    plan = _plan_faces(root) if name == "faces" and is_set(root) else {}
    for row in layout.rows:
        for place in sorted(root.glob(row.folder)) if row.folder else [root]:
            names = place.relative_to(root).parts
            # A source may be called as a folder of labels is.
            if any(is_hidden(part) or part in (*of_label[0], *of_label[1]) for part in names):
                continue
            real, fake = (text and text.format(*names) for text in (row.real, row.fake))
            parts = label_parts(place, labels, (real, fake))
            if name == "ufd":
                parts = _ufd_parts(place, parts, labels)
            if not parts:
                continue
            if row.selected is not None:
                known[names[row.selected]] = None
                if classes and names[row.selected] not in classes:
                    continue
            lacking = {0, 1} - {part.label for part in parts}  # which plan_splits misses
            parts += [Part(place / of_label[label][0], label) for label in lacking]
            plan.setdefault(row.split.format(*names), []).extend(parts)
    if name == "forensynth" and VAL not in plan and "test/progan" in plan:
        plan[VAL] = plan["test/progan"]
    return plan


def _plan_faces(root: Path) -> dict[str, list[Part]]:
    plan: dict[str, list[Part]] = {}
    for video in (faces := load_set(root)).videos():
        if video.faces:
            part = Part(faces.store_of(video), LABELS[video.label], video.folder)
            plan.setdefault(video.split, []).append(part)
    return plan


def _ufd_parts(generator: Path, own: list[Part], labels: LabelFolders) -> list[Part]:
    """A generator's own, with the photographs beside it where it has none; none without fakes."""
    reals = _UFD_REALS.get(generator.name)
    if {part.label for part in own} != {1} or reals is None:
        return own if any(part.label for part in own) else []
    found = label_parts(generator.parent / reals, labels, (reals, None))
    return [*(part for part in found if part.label == 0), *own]


def _expected(root: Path, names: Sequence[str]) -> str:
    shapes = "; ".join(f"{name} {LAYOUTS[name].shape}" for name in names)
    folders = [folder.name for folder in _children(root)]
    shown = ", ".join(folders[:_SHOWN_FOLDERS]) or "no folder"
    more = f" and {len(folders) - _SHOWN_FOLDERS} more" if len(folders) > _SHOWN_FOLDERS else ""
    return f"expected {shapes}; found {shown}{more}."


def _require_classes(root: Path, name: str, known: Sequence[str], classes: Sequence[str]) -> None:
    if classes and all(row.selected is None for row in LAYOUTS[name].rows):
        raise UsageError(f"the layout {name} of {root} has no classes to select. Leave them out.")
    for wanted in classes:
        if wanted not in known:
            near = difflib.get_close_matches(wanted, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            has = ", ".join(known) or "none"
            raise UsageError(f"{root} has no class {wanted!r} to learn from. {hint}It has {has}.")


def _children(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir()) if folder.is_dir() else []
