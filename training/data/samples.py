"""Training samples: crops drawn evenly over classes and sources, or from pairs, then degraded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset

from edge.sources.images import read_image
from edge.types import Image
from training.data.cache import PictureCache
from training.data.crops import Sample, part_at, resized
from training.data.folders import LABEL_FOLDERS, Picture
from training.data.sampling import BalancedDraw
from training.degrade import Chain, Policy, first_jpeg

_LOSSY_FILES = frozenset({".jpg", ".jpeg"})
_LABELS = len(LABEL_FOLDERS)


class AlignedPair(Protocol):
    """A photograph and its reconstruction, pixel on pixel.

    Attributes:
        real: file of the photograph.
        fake: file of the reconstruction, of the same size.
        decoder: what made it.
    """

    @property
    def real(self) -> Path: ...

    @property
    def fake(self) -> Path: ...

    @property
    def decoder(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """What becomes of a picture on its way to a sample.

    Attributes:
        crop: side of a sample in pixels.
        resize: squeeze each picture to a square of so many pixels first; None never resizes.
        flip: mirror every other sample, left to right.
        policy: of the degradations; None for none.
        first_compression: give pictures from lossless files a first JPEG, as nearly every
            photograph has had one.
        pairs_share: of the samples that come from pairs, if there are any.
        mirror: fill pictures up by mirroring where they are too small for a crop and what is done
            to it; if not, the sample is smaller.
        cache_mb: mebibytes of decoded pictures that one loading process keeps.
        seed: of every random choice.
    """

    crop: int
    resize: int | None = None
    flip: bool = True
    policy: Policy | None = None
    first_compression: bool = True
    pairs_share: float = 0.5
    mirror: bool = True
    cache_mb: int = 0
    seed: int = 0


class CropSamples(Dataset[Sample]):
    """An endless, reproducible sequence of samples.

    Sample i has label i mod 2 and depends on the seed and i alone, not on who loads it. Samples
    2j and 2j + 1 are either both sides of a pair, in which crop, flip, degradations and all their
    random numbers agree, or two pictures of their own. Of a label, a source is drawn evenly, then
    one of its pictures; of the pairs, a decoder is drawn evenly.

    Args:
        pictures: both labels occur; may be empty where there are pairs.
        pairs: may be empty where there are pictures.
        settings: of the samples.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        pairs: Sequence[AlignedPair],
        settings: SampleSettings,
    ) -> None:
        self._draw = BalancedDraw(pictures) if pictures else None
        self._decoders = _by_decoder(pairs)
        share = settings.pairs_share if pictures else 1.0
        self._share = share if pairs else 0.0
        self._settings = settings
        self._cache = PictureCache(settings.cache_mb, self._read)

    def __getitem__(self, index: int) -> Sample:
        """The crop, uint8 [size, size, 3] BGR, and its label; size is `crop`, see `mirror`."""
        slot, label = divmod(index, _LABELS)
        seed = self._settings.seed
        common = np.random.default_rng((seed, slot))
        if common.random() < self._share:
            pair = self._draw_pair(common)
            return self._sample(pair.fake if label else pair.real, common), label
        own = np.random.default_rng((seed, slot, 1 + label))
        assert self._draw is not None  # the share is 1 without pictures
        return self._sample(self._draw.draw(label, own).path, own), label

    def _draw_pair(self, rng: np.random.Generator) -> AlignedPair:
        pairs = self._decoders[int(rng.integers(len(self._decoders)))]
        return pairs[int(rng.integers(len(pairs)))]

    def _sample(self, path: Path, rng: np.random.Generator) -> Image:
        settings = self._settings
        chain = settings.policy.draw(rng) if settings.policy else Chain()
        at, flip = (rng.random(), rng.random()), rng.random() < 0.5
        picture = self._cache.read(path)
        size = settings.crop
        if not settings.mirror:
            size = chain.left_of(min(picture.shape[:2]), size)
        part = part_at(picture, chain.needed(size), at)
        if settings.first_compression and path.suffix.lower() not in _LOSSY_FILES:
            # Else compressed once against twice would be a label of its own. Last of what is
            # drawn, so that a pair of a JPEG and a lossless file still agrees in everything else.
            part = first_jpeg(part, rng)
        if settings.flip and flip:
            part = part[:, ::-1]
        return chain.crop(part, size)

    def _read(self, path: Path) -> Image:
        return resized(read_image(path), self._settings.resize)


def _by_decoder(pairs: Sequence[AlignedPair]) -> list[list[AlignedPair]]:
    groups: defaultdict[str, list[AlignedPair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.decoder].append(pair)
    return [groups[name] for name in sorted(groups)]
