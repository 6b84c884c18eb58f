"""The faces of one source from frame to frame: found, followed and cut out for the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.faces.boxes import (
    Floats,
    as_rows,
    clipped,
    crop_face,
    distances,
    overlaps,
    square_box,
)
from edge.faces.finders import Face, Faces
from edge.faces.flow import Flow
from edge.regions import Crop
from edge.types import Box, Image

LEAST_OVERLAP = 0.3
"""Intersection over union above which a face that was found is the one that was followed."""

NEAR = 1.0
"""A lost face is found again within this distance, in sides of its box."""

PATIENCE = 2
"""A face that is followed well is kept while no more looks in a row than this miss it: a detector
misses one now and then."""

MEMORY = 30
"""Frames after which a lost face is forgotten."""


@dataclass(frozen=True, slots=True)
class Track:
    """A face that is followed.

    Attributes:
        number: its own, from 1; no other face of the source gets it.
        xyxy: where it is, or was last, in pixels of the frame and inside it.
        age: frames since it was first found; 0 in that frame.
        seen: whether it is there now: found in this frame, or followed into it. A lost one is
            remembered for `MEMORY` frames.
    """

    number: int
    xyxy: Box
    age: int
    seen: bool


@dataclass(slots=True, eq=False)
class _Followed:
    number: int
    box: Floats
    age: int = 0
    missed: int = 0
    lost: int = 0

    def found_at(self, box: Floats) -> None:
        self.box, self.missed, self.lost = box, 0, 0


class Tracks:
    """The faces of one source. Not thread-safe."""

    def __init__(self) -> None:
        self._tracks: list[_Followed] = []
        self._flow = Flow()
        self._next = 1
        self._hw = (1, 1)

    @property
    def tracks(self) -> list[Track]:
        """All that are known, the lost ones too, by number."""
        return [Track(t.number, clipped(t.box, self._hw), t.age, t.lost == 0) for t in self._tracks]

    def restart(self) -> None:
        """Forget all: what comes next has nothing to do with it. Numbers are not used again."""
        self._tracks = []
        self._flow.forget()

    def carry(self, image: Image) -> bool:
        """Follow the faces into the next frame, uint8 [H, W, 3] BGR.

        Returns:
            Whether all that were seen before still are; if not, it is worth looking for them.
        """
        self._hw = image.shape[0], image.shape[1]
        if not self._tracks:
            self._flow.forget()
            return True
        self._flow.look(image)
        if self._flow.is_cut:
            self._tracks = []
            return False
        return self._follow()

    def match(self, found: Sequence[Face], image: Image) -> None:
        """Take the faces that were found in the frame that was carried into last."""
        ours, theirs = as_rows([t.box for t in self._tracks]), as_rows([f.xyxy for f in found])
        pairs = _pairs(-overlaps(ours, theirs), -LEAST_OVERLAP)
        for i, j in pairs.items():
            self._tracks[i].found_at(theirs[j])
        self._find_again(theirs, pairs)
        for i, track in enumerate(self._tracks):
            if i not in pairs:
                track.missed += 1
                if track.missed > PATIENCE and not track.lost:
                    track.lost = 1
        taken = set(pairs.values())
        for j in range(len(found)):
            if j not in taken:
                self._tracks.append(_Followed(self._next, theirs[j]))
                self._next += 1
        if self._tracks and self._flow.holds_none:
            self._flow.look(image)

    def _follow(self) -> bool:
        moved, sure = self._flow.carry(as_rows([track.box for track in self._tracks]))
        held = True
        for track, box, is_sure in zip(self._tracks, moved, sure, strict=True):
            track.age += 1
            if track.lost or not is_sure:
                held = held and track.lost > 0
                track.lost += 1
            else:
                track.box = box
        self._tracks = [track for track in self._tracks if track.lost <= MEMORY]
        return held

    def _find_again(self, theirs: Floats, pairs: dict[int, int]) -> None:
        """Pair lost faces with unpaired ones near them, adding to the pairs."""
        lost = [i for i, t in enumerate(self._tracks) if t.lost and i not in pairs]
        taken = set(pairs.values())
        free = [j for j in range(len(theirs)) if j not in taken]
        ours = as_rows([self._tracks[i].box for i in lost])
        for i, j in _pairs(distances(ours, theirs[free]), NEAR).items():
            pairs[lost[i]] = free[j]
            self._tracks[lost[i]].found_at(theirs[free[j]])


def _pairs(costs: Floats, most: float) -> dict[int, int]:
    """Rows with columns, each once, the cheapest pair first, and none that costs more than `most`.

    Greedy: where faces overlap so much that it is not the best in sum, nothing is.
    """
    rows, columns = np.nonzero(costs <= most)
    order = np.argsort(costs[rows, columns], kind="stable")
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs


class FaceWatch:
    """Looks for faces in every Nth frame and follows them in between. Not thread-safe.

    Where one is lost in between, or the scene changes, it looks again at once.

    Args:
        faces: settings and finder, which several sources may share.
        size: side of the crops in pixels.
    """

    def __init__(self, faces: Faces, size: int) -> None:
        self._finder = faces.finder
        self._every = faces.settings.every
        self._size = size
        self._tracks = Tracks()
        self._unlooked = 0

    def restart(self) -> None:
        """The next frame has nothing to do with those before."""
        self._tracks.restart()
        self._unlooked = 0

    def follow(self, image: Image) -> None:
        """Go on to the next frame, uint8 [H, W, 3] BGR."""
        held = self._tracks.carry(image)
        if not held or self._unlooked == 0:
            self._tracks.match(self._finder.find(image), image)
            self._unlooked = 0
        self._unlooked = (self._unlooked + 1) % self._every

    @property
    def seen(self) -> list[Track]:
        """The faces that are in the frame that was followed into last."""
        return [track for track in self._tracks.tracks if track.seen]

    def crops(self, image: Image) -> list[Crop]:
        """Those faces, each in a square cut out of that frame, uint8 [H, W, 3] BGR."""
        crops = []
        for track in self.seen:
            box = square_box(track.xyxy, (image.shape[0], image.shape[1]))
            crops.append(Crop(box, crop_face(image, box, self._size), track.number))
        return crops
