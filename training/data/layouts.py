"""How published data sets, and our own, lie in folders.

Labels come from named folders alone: `0_real` and `1_fake`, or two that a person names; in GenImage
`nature` and `ai`. `source` is what a draw or a figure is balanced over.

plain       {0_real,1_fake}/<source>/…
            One split, `all`.
splits      {train,val,test}/{0_real,1_fake}/<source>/…
            Our own; at least one of the three.
wildrf      {train,val}/{0_real,1_fake}/…, test/<platform>/{0_real,1_fake}/…
            WildRF. A split `test/<platform>` for each; its source is the platform.
forensynth  train/progan/<class>/{0_real,1_fake}, test/<generator>[/<class>]/{0_real,1_fake}
            ForenSynth (CNNDetection); `progan/` may be absent below train and val. The protocol
            takes its 20 classes airplane … horse or a subset, so `classes` selects among those of
            train. Validation is val/[progan/]<class> where present, else test/progan: then the
            figures of `test/progan` are of pictures that a step was chosen on. Sources of train are
            `<class>` and `progan/<class>`, elsewhere the generator.
ufd         <generator>/1_fake with {imagenet,laion}/0_real
            The diffusion sets of UniversalFakeDetect, tests only: `guided` pairs with the
            photographs of imagenet; ldm_200, ldm_200_cfg, ldm_100, glide_100_27, glide_50_27,
            glide_100_10 and dalle pair with those of laion. A generator that has a 0_real of its
            own takes that instead.
genimage    <generator>[/<set>]/{train,val}/{nature,ai}/…
            GenImage. `train` and `val` join the generators, of which `classes` selects those to
            learn from; its protocol tests on val, so each is a split `test/<generator>` as well.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edge.errors import SourceError, UsageError
from training.data.folders import LABEL_FOLDERS, Part

AUTO = "auto"
TRAIN, VAL, TEST, ALL = "train", "val", "test", "all"

Labels = tuple[str, str]
"""Names of the folders with photographs and with generated pictures."""

Plan = Mapping[str, Sequence[Part]]
"""Per split the folders that it is made of."""

_PROGAN = "progan"
_GENIMAGE: Labels = ("nature", "ai")
_LAION = ("ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10")
_UFD_REALS = MappingProxyType(
    {"guided": "imagenet", "dalle": "laion", **dict.fromkeys(_LAION, "laion")}
)
_SHOWN_FOLDERS = 8
_PACKERS_OWN = ("__MACOSX",)
"""What archives hold besides their content."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out a data set.

    `shape` is how it looks, for people; `plan` gives the splits of a folder that looks so, and
    nothing for another; `fits` says whether it does, where a plan alone does not tell; `selects`
    gives what `classes` chooses among in a folder, and is None where it cannot.
    """

    shape: str
    plan: Callable[[Path, Labels, Sequence[str]], dict[str, list[Part]]]
    fits: Callable[[Path, Labels], bool] | None = None
    selects: Callable[[Path, Labels], list[str]] | None = None


def plan_splits(
    root: Path, layout: str, classes: Sequence[str] = (), labels: Labels = LABEL_FOLDERS
) -> tuple[str, Plan]:
    """The layout's name (found out with "auto") and, per split, the folders that make it up.

    Raises:
        SourceError: the folder is missing, fits no layout, or lacks a class.
        UsageError: no such layout or class.
    """
    if not root.is_dir():
        raise SourceError(f"{root} is no folder. Give the folder of a data set.")
    name = recognised(root, labels) if layout == AUTO else layout
    if name is None:
        raise SourceError(f"{root} has none of the known layouts: {_expected(root, list(LAYOUTS))}")
    if name not in LAYOUTS:
        raise UsageError(f"no layout {name!r}. Known are {AUTO}, {', '.join(LAYOUTS)}.")
    _require_classes(root, name, labels, classes)
    plan = LAYOUTS[name].plan(root, labels, classes)
    if not plan:
        raise SourceError(f"{root} is not laid out as {name}: {_expected(root, [name])}")
    for part in (part for parts in plan.values() for part in parts):
        if not part.folder.is_dir():
            raise SourceError(
                f"{part.folder} is missing. Expected folders of both labels: a detector learns "
                "from the difference."
            )
    return name, plan


def recognised(root: Path, labels: Labels = LABEL_FOLDERS) -> str | None:
    """The name of the first layout that a folder fits; None where it fits none."""
    for name, layout in LAYOUTS.items():
        if layout.fits(root, labels) if layout.fits else layout.plan(root, labels, ()):
            return name
    return None


def find_root(folder: Path) -> Path | None:
    """The data set in a folder: itself, or what lies below it in one folder that is alone there."""
    if recognised(folder):
        return folder
    inside = [child for child in _children(folder) if child.name not in _PACKERS_OWN]
    return find_root(inside[0]) if len(inside) == 1 else None


def _expected(root: Path, names: Sequence[str]) -> str:
    shapes = "; ".join(f"{name} {LAYOUTS[name].shape}" for name in names)
    folders = [folder.name for folder in _children(root)]
    shown = ", ".join(folders[:_SHOWN_FOLDERS]) or "no folder"
    more = f" and {len(folders) - _SHOWN_FOLDERS} more" if len(folders) > _SHOWN_FOLDERS else ""
    return f"expected {shapes}; found {shown}{more}."


def _require_classes(root: Path, name: str, labels: Labels, classes: Sequence[str]) -> None:
    selects = LAYOUTS[name].selects
    if classes and selects is None:
        raise UsageError(f"the layout {name} of {root} has no classes to select. Leave them out.")
    known = selects(root, labels) if selects and classes else []
    for wanted in classes:
        if wanted not in known:
            near = difflib.get_close_matches(wanted, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"{root} has no class {wanted!r} to learn from. {hint}It has {', '.join(known)}."
            )


def _children(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir()) if folder.is_dir() else []


def _labelled(folder: Path, labels: Labels) -> bool:
    """Whether at least one label has its folder; that both have is required later."""
    return any((folder / name).is_dir() for name in labels)


def _pair(
    folder: Path, labels: Labels, real: str | None = None, fake: str | None = None
) -> list[Part]:
    return [Part(folder / labels[0], 0, real), Part(folder / labels[1], 1, fake)]


def _plan_plain(root: Path, labels: Labels, _: Sequence[str]) -> dict[str, list[Part]]:
    return {ALL: _pair(root, labels)} if _labelled(root, labels) else {}


def _plan_splits(root: Path, labels: Labels, _: Sequence[str]) -> dict[str, list[Part]]:
    found = (split for split in (TRAIN, VAL, TEST) if _labelled(root / split, labels))
    return {split: _pair(root / split, labels) for split in found}


def _plan_tests(root: Path, labels: Labels, _: Sequence[str] = ()) -> dict[str, list[Part]]:
    """A split for each folder below test/ that is labelled, or whose folders are."""
    plan = {}
    for folder in _children(root / TEST):
        inside = [folder] if _labelled(folder, labels) else _classes(folder, labels)
        if inside:
            pairs = [_pair(place, labels, folder.name, folder.name) for place in inside]
            plan[f"{TEST}/{folder.name}"] = [part for pair in pairs for part in pair]
    return plan


def _plan_wildrf(root: Path, labels: Labels, _: Sequence[str]) -> dict[str, list[Part]]:
    found = (split for split in (TRAIN, VAL) if _labelled(root / split, labels))
    train = {split: _pair(root / split, labels) for split in found}
    return train | _plan_tests(root, labels)


def _classes(folder: Path, labels: Labels) -> list[Path]:
    return [place for place in _children(folder) if _labelled(place, labels)]


def _progan(folder: Path, labels: Labels) -> list[Path]:
    """The labelled folders of the classes of ProGAN, which may lie in a folder of its name."""
    return _classes(folder / _PROGAN, labels) or _classes(folder, labels)


def _plan_forensynth(root: Path, labels: Labels, classes: Sequence[str]) -> dict[str, list[Part]]:
    chosen = [c for c in _progan(root / TRAIN, labels) if c.name in classes or not classes]
    train = [part for c in chosen for part in _pair(c, labels, c.name, f"{_PROGAN}/{c.name}")]
    held = _progan(root / VAL, labels)
    val = [part for place in held for part in _pair(place, labels, _PROGAN, _PROGAN)]
    tests = _plan_tests(root, labels)
    val = val or tests.get(f"{TEST}/{_PROGAN}", [])
    plan = {TRAIN: train, VAL: val}
    return {split: parts for split, parts in plan.items() if parts} | tests


def _fits_forensynth(root: Path, labels: Labels) -> bool:
    trains = [root / TRAIN, root / VAL]
    if any(_labelled(folder, labels) for folder in trains):
        return False
    tested = _labelled(root / TEST / _PROGAN, labels) or _classes(root / TEST / _PROGAN, labels)
    return bool(tested) or any(_progan(folder, labels) for folder in trains)


def _plan_ufd(root: Path, labels: Labels, _: Sequence[str]) -> dict[str, list[Part]]:
    plan = {}
    for folder in _children(root):
        if (folder / labels[1]).is_dir():
            real = _ufd_real(folder, labels)
            photographs = Part(real / labels[0], 0, real.name)
            generated = Part(folder / labels[1], 1, folder.name)
            plan[f"{TEST}/{folder.name}"] = [photographs, generated]
    return plan


def _ufd_real(generator: Path, labels: Labels) -> Path:
    if (generator / labels[0]).is_dir():
        return generator
    if generator.name not in _UFD_REALS:
        raise SourceError(
            f"{generator} has no {labels[0]}, and which photographs pair with it is known only for "
            f"{', '.join(sorted(_UFD_REALS))}. Put its photographs in {generator / labels[0]}."
        )
    return generator.parent / _UFD_REALS[generator.name]


def _genimage_sets(root: Path) -> Iterator[tuple[str, Path]]:
    """Each generator with each folder of it that holds train or val."""
    for generator in _children(root):
        for place in (generator, *_children(generator)):
            if any(_labelled(place / split, _GENIMAGE) for split in (TRAIN, VAL)):
                yield generator.name, place


def _plan_genimage(root: Path, _: Labels, classes: Sequence[str]) -> dict[str, list[Part]]:
    plan: dict[str, list[Part]] = {TRAIN: [], VAL: []}
    for generator, place in _genimage_sets(root):
        if _labelled(place / TRAIN, _GENIMAGE) and (generator in classes or not classes):
            plan[TRAIN] += _pair(place / TRAIN, _GENIMAGE, generator, generator)
        if _labelled(place / VAL, _GENIMAGE):
            held = _pair(place / VAL, _GENIMAGE, generator, generator)
            plan[VAL] += held
            plan.setdefault(f"{TEST}/{generator}", []).extend(held)
    return {split: parts for split, parts in plan.items() if parts}


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "plain": Layout("{0_real,1_fake}/…", _plan_plain),
        "forensynth": Layout(
            "train/progan/<class>/{0_real,1_fake} and test/<generator>[/<class>]/{0_real,1_fake}",
            _plan_forensynth,
            fits=_fits_forensynth,
            selects=lambda root, labels: [c.name for c in _progan(root / TRAIN, labels)],
        ),
        "genimage": Layout(
            "<generator>/{train,val}/{nature,ai}",
            _plan_genimage,
            selects=lambda root, _: sorted({name for name, _ in _genimage_sets(root)}),
        ),
        "wildrf": Layout(
            "{train,val}/{0_real,1_fake} and test/<platform>/{0_real,1_fake}",
            _plan_wildrf,
            fits=lambda root, labels: bool(_plan_tests(root, labels)),
        ),
        "splits": Layout("{train,val,test}/{0_real,1_fake}/<source>", _plan_splits),
        "ufd": Layout(
            "<generator>/1_fake with {imagenet,laion}/0_real",
            _plan_ufd,
            fits=lambda root, labels: any((root / n / labels[1]).is_dir() for n in _UFD_REALS),
        ),
    }
)
"""By name, in the order in which they are tried."""
