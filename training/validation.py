"""Which validation pictures a training scores, and what of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edge.types import Image
from training.data.crops import centre_crop, resized
from training.data.folders import Picture


@dataclass(frozen=True, slots=True)
class View:
    """What of a picture is scored.

    Attributes:
        resize: side of the square that it is squeezed to first; None never resizes.
        crop: most rows and columns that are then taken from its middle; None takes all.
    """

    resize: int | None = None
    crop: int | None = None

    def of(self, image: Image) -> Image:
        """The part of uint8 [H, W, 3] that is degraded and scored."""
        image = resized(image, self.resize)
        return centre_crop(image, self.crop) if self.crop else image

    def describe(self) -> str:
        """In a few words, as they follow "pictures"."""
        size = f"resized to {self.resize} px" if self.resize else "at native pixels"
        return f"{size}, {f'middle {self.crop} px' if self.crop else 'whole'}"


def limited(pictures: Sequence[Picture], per_source: int | None) -> tuple[Picture, ...]:
    """A part of the pictures of each source of each label, spread evenly over their order.

    Args:
        pictures: in any order, which is kept.
        per_source: pictures of each at most; None for all.
    """
    if per_source is None:
        return tuple(pictures)
    counts = Counter((p.label, p.source) for p in pictures)
    counted: Counter[tuple[int, str]] = Counter()
    kept = []
    for picture in pictures:
        key = (picture.label, picture.source)
        before = counted[key] * per_source // counts[key]
        counted[key] += 1
        if counts[key] <= per_source or counted[key] * per_source // counts[key] > before:
            kept.append(picture)
    return tuple(kept)
