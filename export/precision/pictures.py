"""Real pictures as a model sees them: to calibrate int8 on, and to compare precisions on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from onnx import GraphProto

from edge.errors import SourceError, require_opencv
from edge.manifest import Manifest
from edge.regions import RegionSpec, cut, parse_region
from edge.sources.images import is_image, read_image
from edge.sources.walk import walk
from edge.types import Batch, Image
from export.graph import Shape

MOST = 96
"""Pictures that are calibrated on, spread evenly over the folder in the order of their paths."""

QUALITIES = (None, 90, 75)
"""Each picture is taken as it is, or through JPEG of one of these qualities, in turn: a range must
hold for what cameras and web sites leave of a picture."""

LARGEST_SIDE = 1024
"""Of whole frames only the middle is calibrated on; ranges depend on texture, and not on size."""


def fixed_shape(graph: GraphProto) -> Shape | None:
    """The only shape that a graph takes; None if it takes any."""
    sizes = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim[:3]]
    return (sizes[0], sizes[1], sizes[2]) if all(sizes) else None


def read_pictures(
    folder: Path,
    manifest: Manifest,
    fixed: Shape | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Batch]:
    """Up to `MOST` pictures of a folder and its subfolders, cut to a model's region: each uint8
    [1, h, w, 3] BGR, or of the fixed shape. Those that cannot be read, or are too small, are
    skipped; SourceError where there is no folder, or nothing in it that can be used.
    """
    require_opencv()
    if not folder.is_dir():
        raise SourceError(f"{folder}: expected a folder of pictures, found none.")
    paths = sorted(map(Path, walk(str(folder), is_image)))
    if len(paths) > MOST:
        paths = [paths[index * len(paths) // MOST] for index in range(MOST)]
    found = list(_read(paths, manifest, fixed, tell))
    if not found:
        raise SourceError(
            f"{folder}: expected pictures (.jpg, .png, …) that {manifest.name} can look at, found "
            f"none among {len(paths)}."
            if paths
            else f"{folder}: expected pictures, found none."
        )
    return found


def crops(image: Image, region: RegionSpec, fixed: Shape | None) -> list[Batch]:
    """A picture, uint8 [H, W, 3] BGR, as a model sees it: its crops, each a batch of one, or cut or
    mirrored to the fixed shape, and repeated.
    """
    seen = [crop.image for crop in cut(image, region)]
    if fixed is None:
        return [np.ascontiguousarray(crop)[None] for crop in seen]
    batch, height, width = fixed
    return [np.repeat(_fitted(crop, height, width)[None], batch, axis=0) for crop in seen]


def _read(
    paths: list[Path],
    manifest: Manifest,
    fixed: Shape | None,
    tell: Callable[[int, int], None],
) -> Iterator[Batch]:
    from training.degrade.stills import jpeg

    least = manifest.patches.smallest_input() if manifest.patches else 1
    region = parse_region(manifest.region)
    for index, path in enumerate(paths):
        tell(index, len(paths))
        try:
            image = read_image(path)
        except SourceError:
            continue
        quality = QUALITIES[index % len(QUALITIES)]
        seen = crops(image if quality is None else jpeg(image, quality), region, fixed)
        middle = seen[len(seen) // 2] if fixed else _middle(seen[len(seen) // 2])
        if min(middle.shape[1:3]) >= least:
            yield middle


def _middle(frames: Batch) -> Batch:
    (crop,) = cut(frames[0], RegionSpec("center", LARGEST_SIDE))
    return np.ascontiguousarray(crop.image)[None]


def _fitted(image: Image, height: int, width: int) -> Image:
    (crop,) = cut(image, RegionSpec("center", max(height, width)))
    lacking = (max(0, height - crop.image.shape[0]), max(0, width - crop.image.shape[1]))
    grown = np.pad(crop.image, ((0, lacking[0]), (0, lacking[1]), (0, 0)), mode="symmetric")
    top, left = ((grown.shape[0] - height) // 2, (grown.shape[1] - width) // 2)
    return grown[top : top + height, left : left + width]
