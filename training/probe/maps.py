"""Maps from the middle of a trunk, kept beside the mean features of all its levels.

What lies before a block that stays as it is need not be computed again at each step of a training,
nor a picture be read and degraded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import Self

from edge.errors import UsageError
from edge.types import Batch
from training.data.crops import normalised
from training.models.lite import LiteModel
from training.probe.features import Features, FeatureStore, Job

Map = npt.NDArray[np.float16]


class Kept(NamedTuple):
    """What is kept of looks.

    Attributes:
        features: mean features of all levels, float32 [looks, channels].
        lower: how many of these are of the stem and the kept blocks.
        maps: after the last kept block, each float16 [depth, h, w]; memory-mapped.
    """

    features: Features
    lower: int
    maps: Sequence[Map]


class MapStore(FeatureStore):
    """The rows of a trunk, and in a second file the maps after its lower part.

    Args:
        folder: as of `FeatureStore`.
        model: in evaluation mode; its trunk reads levels.
        kept: blocks of the lower part.

    Raises:
        UsageError: the trunk has not more blocks than that.
        SinkError: as of `FeatureStore`.
    """

    def __init__(self, folder: Path, model: LiteModel, kept: int) -> None:
        trunk = model.trunk
        if kept >= len(trunk.parts()) - 1:
            raise UsageError(
                f"kept: expected fewer than the {len(trunk.parts()) - 1} blocks of "
                f"{model.architecture}, found {kept}."
            )
        self._lite, self._trunk, self._end = model, trunk, kept + 1
        with torch.no_grad():
            levels, after = trunk.levels(torch.zeros(1, 3, 64, 64), 0, self._end)
        self._lower, self._depth = levels.shape[1], after.shape[1]
        super().__init__(folder, model)
        self._maps = self.path.with_suffix(".maps").open("ab")
        rows = self._rows()
        whole = int(rows["place"][-1]) + self._bytes(rows[-1]) if len(rows) else 0
        self._maps.truncate(whole)
        self._at = whole

    def __exit__(self, *_: object) -> None:
        self._maps.close()
        super().__exit__()

    def __enter__(self) -> Self:
        return self

    def take_maps(self, jobs: Sequence[Job]) -> Kept:
        """What is kept of all looks, job by job."""
        found = self._found(jobs)
        maps = np.memmap(self._maps.name, np.float16, mode="r")
        views = []
        for row in found:
            start, size = int(row["place"]) // 2, self._bytes(row) // 2
            shape = self._depth, int(row["height"]), int(row["width"])
            views.append(maps[start : start + size].reshape(shape))
        return Kept(np.ascontiguousarray(found["features"]), self._lower, views)

    def _columns(self) -> list[tuple[Any, ...]]:
        return [*super()._columns(), ("place", "<u8"), ("height", "<u2"), ("width", "<u2")]

    def _digest(self) -> str:
        return f"{super()._digest()}-{self._end - 1}"

    @torch.no_grad()
    def _measured(self, images: Batch) -> tuple[Any, ...]:
        if len(images) != 1:
            raise UsageError("maps are kept of one crop of a look. Use region fit:N or center:N.")
        pixels = normalised(images).contiguous(memory_format=torch.channels_last)
        whole = self._lite.levels(self._lite.preprocess(pixels))
        lower, after = self._trunk.levels(whole, 0, self._end)
        upper, _ = self._trunk.levels(after, self._end, len(self._trunk.parts()))
        kept = after[0].half().contiguous().numpy()
        place = self._at
        self._maps.write(kept.tobytes())
        self._at += kept.nbytes
        means = torch.cat([lower, upper], 1).mean((2, 3))[0]
        return means.numpy(), place, *kept.shape[1:]

    def _append(self, block: Sequence[tuple[Any, ...]]) -> None:
        self._maps.flush()  # before the rows that point to it
        super()._append(block)

    def _bytes(self, row: Any) -> int:
        return 2 * self._depth * int(row["height"]) * int(row["width"])
