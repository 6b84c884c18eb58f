"""Which side a video is on, such that nobody is on two.

A fake shows two people: whose film it is, and whose face it wears. Who meets in any video belongs
together, so that the connected groups of people are dealt out, not the videos. Where one group
holds most of the people (the actors of DeepFakeDetection were swapped all around), it is cut: its
people are dealt out one by one, and a fake of two sides is left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

from edge.errors import ConfigError
from training.faces.sets import SPLITS, Split

VAL_SHARE = TEST_SHARE = 0.14
"""Of the people, as in FaceForensics++'s own lists: 140 of 1000 each."""

_LARGEST = 8
"""A group of more people is cut if it also holds more than half of the people of its kind."""

Digits = Annotated[str, StringConstraints(pattern=r"^\d+$")]

YOUTUBE, ACTOR = "youtube", "actor"

ORIGINAL_VAL: frozenset[str] = frozenset(
    [f"{YOUTUBE}-{n:03d}" for n in (339, 878, 992, *range(710, 720), *range(800, 900))]
    + [f"{ACTOR}-{n:02d}" for n in (1, 3, 4, 6, 7, 9)]
)
"""Who is in the validation videos that the system before this one held out by their names:
numbers 339, 878, 992, 71x and 8xx; actors' 07__talking_against_wall and 01__kitchen_pan; fakes
06_04__walking_outside_cafe_disgusted and 09_03__kitchen_pan."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Who is on which side, and how many people each group had that was cut."""

    of: Mapping[str, Split]
    cut: tuple[int, ...]

    def split(self, people: Iterable[str]) -> Split | None:
        """Of a video with these people, at least one; None if they are on two sides."""
        found = {self.of[person] for person in people}
        return found.pop() if len(found) == 1 else None


def person(kind: str, number: str) -> str:
    """The name of a person: the kind and the number as the published file names have it."""
    return f"{kind}-{number}"


def deal_out(casts: Iterable[Sequence[str]], fixed: Mapping[str, Split]) -> Sides:
    """Deal the people of videos out to train, val and test.

    The same people are always dealt out in the same way: groups that are not fixed follow each
    other by the hash of their first name, and fill val, then test, then train. The others of a
    group follow whoever is fixed, unless two are on two sides.
    """
    groups, cut = [], []
    kinds: dict[str, list[list[str]]] = defaultdict(list)
    for group in _groups(casts):
        kinds[_kind(group[0])].append(group)
    for of_kind in kinds.values():
        total = sum(map(len, of_kind))
        for group in of_kind:
            if _must_cut(group, total, fixed):
                cut.append(len(group))
                groups += [[name] for name in group]
            else:
                groups.append(group)
    return Sides(_dealt(groups, fixed), tuple(cut))


def shared_people(videos: Iterable[tuple[Sequence[str], Split]]) -> dict[str, set[Split]]:
    """Whoever is on more than one side, with the sides, by people and split of each video."""
    seen: dict[str, set[Split]] = defaultdict(set)
    for people, split in videos:
        for name in people:
            seen[name].add(split)
    return {name: splits for name, splits in seen.items() if len(splits) > 1}


def read_official(folder: Path) -> dict[str, Split]:
    """Person → split of the published lists: train.json, val.json and test.json, each pairs of
    numbers.

    Raises:
        ConfigError: one is absent or of another form, or a number is in two.
    """
    fixed: dict[str, Split] = {}
    for split in SPLITS:
        for number in _numbers(folder / f"{split}.json"):
            name = person(YOUTUBE, number)
            if fixed.setdefault(name, split) != split:
                raise ConfigError(
                    f"--splits {folder}: number {number} is in {fixed[name]}.json and in "
                    f"{split}.json. Take the lists as they were published."
                )
    return fixed


def _numbers(path: Path) -> list[str]:
    try:
        pairs = TypeAdapter(list[tuple[Digits, Digits]]).validate_json(path.read_bytes())
        return [number for pair in pairs for number in pair]
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is of another form"
        raise ConfigError(
            f'--splits: expected {path} with pairs of numbers, [["720", "672"], …], and cannot '
            f"take it ({reason}). The three lists are in the dataset folder of "
            "github.com/ondyari/FaceForensics."
        ) from error


def _groups(casts: Iterable[Sequence[str]]) -> list[list[str]]:
    """Connected groups, each in the order of names."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = name = above[above[name]]
        return name

    for people in casts:
        for name in people:
            above[top(name)] = top(people[0])
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(above):
        groups[top(name)].append(name)
    return list(groups.values())


def _must_cut(group: Sequence[str], total: int, fixed: Mapping[str, Split]) -> bool:
    on_two_sides = len({fixed[name] for name in group if name in fixed}) > 1
    return on_two_sides or (len(group) > _LARGEST and 2 * len(group) > total)


def _dealt(groups: Sequence[Sequence[str]], fixed: Mapping[str, Split]) -> dict[str, Split]:
    of: dict[str, Split] = {}
    free: dict[str, list[Sequence[str]]] = defaultdict(list)
    for group in groups:
        held = next((fixed[name] for name in group if name in fixed), None)
        if held is None:
            free[_kind(group[0])].append(group)
        else:
            of.update(dict.fromkeys(group, held))
    for kind, of_kind in free.items():
        _fill(sorted(of_kind, key=_rank), kind, of)
    return of


def _fill(groups: Sequence[Sequence[str]], kind: str, of: dict[str, Split]) -> None:
    """Deal groups of one kind out to val, test and train, beside whoever has a side."""
    counts = Counter(split for name, split in of.items() if _kind(name) == kind)
    total = counts.total() + sum(map(len, groups))
    left = len(groups)
    for group in groups:
        split = _next_split(counts, total, left)
        of.update(dict.fromkeys(group, split))
        counts[split] += len(group)
        left -= 1


def _next_split(counts: Counter[Split], total: int, left: int) -> Split:
    """Of a group, when `left` are left with it: train must get one, then val, then test."""
    lacking = [split for split in SPLITS if not counts[split]]
    if len(lacking) >= left:
        return lacking[0]
    if counts["val"] < VAL_SHARE * total:
        return "val"
    return "test" if counts["test"] < TEST_SHARE * total else "train"


def _rank(group: Sequence[str]) -> bytes:
    return hashlib.sha256(group[0].encode()).digest()


def _kind(name: str) -> str:
    return name.partition("-")[0]
