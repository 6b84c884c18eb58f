"""Pictures of train that come back in val or test, found by their perceptual hash.

A hash changes by a few of its 64 bits when a picture is compressed again or scaled; it does not
find one that was cropped or turned. Frames of one video, and plain surfaces, match too.

Comparing every pair would take days for a million pictures. The bits are cut into `distance + k`
bands instead: two hashes that differ in at most `distance` bits are equal in at least k of them, so
that for each choice of k bands only those with the same bits there are compared. (Multi-index
hashing, after M. Norouzi, A. Punjani and D. Fleet, Fast Exact Search in Hamming Space with
Multi-Index Hashing, 2014, with several bands at once instead of a radius in each.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
import numpy.typing as npt

from training.data.dataset import DataSet
from training.data.layouts import TRAIN
from training.data.pictures import Indices, Picture, Pictures

DISTANCE = 4
"""Bits that the hashes of two pictures may differ in to count as one.

Of 188 pictures all were found again within 4 bits as JPEG of quality 40 or at half their size; no
two of them that have nothing to do with each other were nearer than 16.
"""

MOST_DISTANCE = 8
"""Beyond, pictures that have nothing to do with each other are found, and the search is slow."""

Hashes = npt.NDArray[np.uint64]

_BITS = 64
_AT_ONCE = 2_000_000
_PLACE_BITS = np.uint64(32)
_NONE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ONES = np.array([bin(n).count("1") for n in range(1 << 16)], np.uint8)


@dataclass(frozen=True, slots=True)
class Leak:
    """A picture held out, the one of train that is most like it, and the bits that differ."""

    held: Picture
    train: Picture
    distance: int


@dataclass(frozen=True, slots=True, eq=False)
class SplitLeaks:
    """What leaked into one split: N pictures held out, their places in train (intp [N]), and in how
    many bits the hashes differ (uint8 [N]).
    """

    split: str
    held: Pictures
    train: Pictures
    nearest: Indices
    distances: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self) -> Iterator[Leak]:
        for place, held in enumerate(self.held):
            train = self.train[int(self.nearest[place])]
            yield Leak(held, train, int(self.distances[place]))


def find_leaks(
    dataset: DataSet,
    distance: int = DISTANCE,
    on_step: Callable[[float], None] = lambda share: None,
) -> list[SplitLeaks]:
    """For each split with such pictures those that are within `distance` bits of one of train.

    The data set was opened with `hashed`; `on_step` is given the share that is done, 0..1.
    """
    if TRAIN not in dataset.splits:
        return []
    train = dataset.splits[TRAIN].pictures
    others = [split for split in dataset.splits if split != TRAIN]
    leaks = []
    for number, split in enumerate(others):

        def step(share: float, number: int = number) -> None:
            on_step((number + share) / len(others))

        pictures = dataset.splits[split].pictures
        nearest, distances = nearest_hashes(
            train.rows["phash"], pictures.rows["phash"], distance, step
        )
        found = np.flatnonzero(nearest >= 0)
        held = pictures.take(found)
        leaks.append(SplitLeaks(split, held, train, nearest[found], distances[found]))
    return [leak for leak in leaks if len(leak)]


def nearest_hashes(
    known: Hashes,
    asked: Hashes,
    distance: int,
    on_step: Callable[[float], None] = lambda share: None,
) -> tuple[Indices, npt.NDArray[np.uint8]]:
    """For each hash the nearest known one within a distance.

    Args:
        known: uint64 [K], K < 2³².
        asked: uint64 [Q].
        distance: bits that may differ.
        on_step: called now and then with the share that is done, 0..1.

    Returns:
        intp [Q], its first place among the known, −1 where none is near; and uint8 [Q], in how many
        bits it differs, meaningless where none is near.
    """
    found, places = np.unique(known, return_index=True)
    queries, back = np.unique(asked, return_inverse=True)
    # Distance above place in one number, so that the least is the nearest.
    best = np.full(len(queries), _NONE)
    masks = list(_masks(distance, len(found), len(queries)))
    for number, mask in enumerate(masks):
        for query, candidate in _candidates(found & mask, queries & mask):
            bits = _ones(found[candidate] ^ queries[query])
            near = bits <= distance
            place = places[candidate[near]].astype(np.uint64)
            rank = (bits[near].astype(np.uint64) << _PLACE_BITS) | place
            np.minimum.at(best, query[near], rank)
        on_step((number + 1) / len(masks))
    best = best[back.reshape(-1)]
    low = (best & np.uint64(0xFFFF_FFFF)).astype(np.intp)
    distances = (best >> _PLACE_BITS).astype(np.uint8)
    return np.where(best == _NONE, -1, low), distances


def _masks(distance: int, known: int, asked: int) -> Iterator[np.uint64]:
    """For each choice of k bands the bits that they cover; k is that of the least work."""
    k = min(range(1, 4), key=lambda k: _work(distance, k, known, asked))
    bounds = np.linspace(0, _BITS, distance + k + 1).astype(int).tolist()
    bands = [(1 << high) - (1 << low) for low, high in pairwise(bounds)]
    for chosen in combinations(bands, k):
        yield np.uint64(sum(chosen))


def _work(distance: int, k: int, known: int, asked: int) -> float:
    """Steps, about: each choice of bands sorts the known, then compares what falls together."""
    together = asked * known / 2 ** (_BITS * k / (distance + k))
    return comb(distance + k, k) * (20 * (known + asked) + together)


def _candidates(known: Hashes, asked: Hashes) -> Iterator[tuple[Indices, Indices]]:
    """Places of all pairs of equal values, some millions at a time."""
    order = np.argsort(known)
    ordered = known[order]
    first = np.searchsorted(ordered, asked, "left")
    counts = np.searchsorted(ordered, asked, "right") - first
    ends = np.cumsum(counts)
    start = 0
    while start < len(asked):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _AT_ONCE, "right")))
        some = counts[start:stop]
        query = np.repeat(np.arange(start, stop), some)
        offset = np.arange(len(query)) - np.repeat(np.cumsum(some) - some, some)
        yield query, order[np.repeat(first[start:stop], some) + offset]
        start = stop


def _ones(values: Hashes) -> npt.NDArray[np.uint8]:
    """How many bits are set in each."""
    pieces = _ONES[values.view(np.uint16).reshape(-1, 4)]
    counted: npt.NDArray[np.uint8] = pieces.sum(axis=1, dtype=np.uint8)
    return counted
