"""Whether a model's map says where a generated part lies: composites whose generated part is known.

From the photographs and the generated pictures of a data set composites are made: an ellipse of the
one, of a known share of the area, blended into the other side by a soft edge. All material is first
brought to one size and one JPEG, and the composite is compressed once more, so that neither part
has another history. Measured is, in each composite, how often a place inside the ellipse has more
evidence than one outside (AUC over pixels, 0.5 is chance): of the patch map, and of the heat map as
it is drawn where the verdict is fake. The control pastes a photograph into another one: a seam, and
nothing generated; what a map has above 0.5 there, it has of the seam and of the motif.

    python -m benchmarks.localise lite0-levels tiny-ladeda --data pictures/ --output out.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.backends import open_backend
from edge.detector import Detector, Stopwatch, combine
from edge.files import write_whole
from edge.labels import add_label_folders
from edge.manifest import Manifest, PatchGrid
from edge.overlay.heat import heats_of, inner_patches, place_of_cells
from edge.overlay.style import Hud
from edge.regions import parse_region, resize_antialiased
from edge.schema import code_commit
from edge.sources.images import read_image
from edge.terminal import console, positive
from edge.types import Frame, Image, Region, Result, Verdict
from edge.weights import find_model
from training.data.folders import Picture
from training.data.layouts import LAYOUTS
from training.evaluation.material import open_material
from training.evaluation.metrics import DRAWS, estimate
from training.evaluation.record import auc, now
from training.program import run_program
from training.progress import progress_bar

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Of the area that the ellipse covers."""

SOFT = 1 / 64
"""Width of the blend, as a part of the side."""

FIRST_JPEG, LAST_JPEG = 92, 85
CONTROL = "a photograph in a photograph"
MAPS = ("patch map", "heat map")
Mask = npt.NDArray[np.float32]


class Composite(NamedTuple):
    """A picture, uint8 [H, W, 3] BGR; what was blended in, 0..1, float32 [H, W]; its kind."""

    image: Image
    mask: Mask
    kind: str


def ellipse(side: int, share: float, rng: np.random.Generator) -> Mask:
    """A soft ellipse of a share of a square, at any place where all of it fits: float32 [S, S]."""
    ratio = float(rng.uniform(0.7, 1.4))
    radius = np.sqrt(share / np.pi) * side
    axes = np.minimum([radius * np.sqrt(ratio), radius / np.sqrt(ratio)], side * 0.49)
    centre = [float(rng.uniform(a, side - a)) for a in axes]
    rows, columns = np.mgrid[:side, :side] + 0.5
    distance = np.hypot((columns - centre[0]) / axes[0], (rows - centre[1]) / axes[1])
    soft = SOFT * side / float(axes.min())
    mask: Mask = np.clip((1 - distance) / soft + 0.5, 0, 1).astype(np.float32)
    return mask


def recompressed(image: Image, quality: int) -> Image:
    """A picture, uint8 [H, W, 3] BGR, after a JPEG."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def square(path: Path, side: int) -> Image:
    """The middle square of a picture at a side in pixels, after the first JPEG."""
    image = read_image(path)
    short = min(image.shape[:2])
    top, left = ((n - short) // 2 for n in image.shape[:2])
    part = np.ascontiguousarray(image[top : top + short, left : left + short])
    return recompressed(part if short == side else resize_antialiased(part, side, side), FIRST_JPEG)


def blended(below: Image, above: Image, mask: Mask) -> Image:
    """One picture in another, compressed once more; all uint8 [S, S, 3] BGR."""
    part = mask[..., None]
    mixed = np.rint(below * (1 - part) + above * part).astype(np.uint8)
    return recompressed(mixed, LAST_JPEG)


def composites(
    pictures: Sequence[Picture], count: int, side: int, seed: int
) -> Iterator[Composite]:
    """`count` of each share and kind; sources are drawn evenly, then one of their pictures.

    Args:
        pictures: of both labels.
        count: composites of each share.
        side: of each in pixels.
        seed: of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    sources: tuple[dict[str, list[Path]], ...] = ({}, {})
    for picture in pictures:
        sources[picture.label].setdefault(picture.source, []).append(picture.path)

    def drawn(label: int) -> Image:
        names = sorted(sources[label])
        paths = sources[label][names[int(rng.integers(len(names)))]]
        return square(paths[int(rng.integers(len(paths)))], side)

    for share in SHARES:
        for _ in range(count):
            mask, below = ellipse(side, share, rng), drawn(0)
            yield Composite(blended(below, drawn(1), mask), mask, f"1/{round(1 / share)}")
            if share == SHARES[2]:
                yield Composite(blended(below, drawn(0), mask), mask, CONTROL)


def measured(detector: Detector, manifest: Manifest, composite: Composite) -> dict[str, float]:
    """The AUC over places of both maps of one composite; NaN where it covers all or nothing."""
    regions = detector.detect(composite.image, Stopwatch())
    (region,) = regions
    assert manifest.patches is not None
    patches = inner_patches(region, manifest.patches)
    places = _centres(region, manifest.patches, patches.shape)
    inside = composite.mask[np.ix_(*places)]
    hud = Hud(manifest.patches, manifest.calibration)
    verdict = Verdict("fake", manifest.calibration.score(combine(regions).logit))
    frame = Frame(composite.image, 0, 0.0, "")
    light = np.zeros(composite.mask.shape, np.float32)
    for heat in heats_of(Result(frame, region.evidence, verdict, regions=regions), hud):
        left, top, right, bottom = heat.box
        light[top:bottom, left:right] = 255.0 - heat.keep[..., 0]
    step = max(1, len(light) // 128)
    return {
        MAPS[0]: _auc(patches, inside),
        MAPS[1]: _auc(light[::step, ::step], composite.mask[::step, ::step]),
    }


def _auc(values: npt.NDArray[np.float32], inside: Mask) -> float:
    fakes, reals = values[inside > 0.9].astype(float), values[inside < 0.1].astype(float)
    return auc(reals, fakes)


def _centres(
    region: Region, grid: PatchGrid, shape: tuple[int, ...]
) -> list[npt.NDArray[np.int64]]:
    """Rows and columns of the picture in the middle of each cell of a map."""
    centres = []
    for axis in (0, 1):
        first, step = place_of_cells(region, grid, 1 - axis)
        side = region.xyxy[3 - axis]
        at = first + step * np.arange(shape[axis])
        centres.append(np.clip(np.floor(at), 0, side - 1).astype(np.int64))
    return centres


def summary(values: Sequence[float], seed: int) -> dict[str, float | int]:
    """Mean with its 95 % interval over composites that were drawn again."""
    finite = np.array([value for value in values if np.isfinite(value)])
    rng = np.random.default_rng(seed)
    means = finite[rng.integers(len(finite), size=(DRAWS, len(finite)))].mean(axis=1)
    mean, low, high = estimate(float(finite.mean()), means) or (np.nan,) * 3
    return {"count": len(finite), "auc": round(mean, 3), "low": round(low, 3),
            "high": round(high, 3)}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="shipped names or model files with patches")
    add("--data", type=Path, required=True, metavar="DIR", help="labelled pictures")
    add("--split", metavar="NAME", help="of them (default: val, or the only)")
    add("--layout", choices=("auto", *LAYOUTS), default="auto", help="default: %(default)s")
    add_label_folders(parser)
    add("--side", type=positive, default=256, metavar="PX", help="default: %(default)s")
    add("--count", type=positive, default=60, metavar="N", help="composites of each size")
    add("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    add("--threads", type=positive, default=1, metavar="N", help="default: %(default)s")
    add("--output", type=Path, required=True, metavar="F.json")


def run(args: argparse.Namespace) -> int:
    """Make, measure, print and write."""
    material = open_material([args.data], args.split, args.layout, labels=args.label_folders)
    pictures = [entry.picture for entry in material.entries if not entry.video]
    rows: list[dict[str, object]] = []
    total = len(args.models) * args.count * (len(SHARES) + 1)
    with progress_bar() as progress:
        task = progress.add_task("measuring", total=total, note="")
        for name in args.models:
            found: dict[tuple[str, str], list[float]] = {}
            with open_backend(find_model(name), args.threads) as backend:
                manifest = backend.manifest
                detector = Detector(backend, parse_region(manifest.region))
                for composite in composites(pictures, args.count, args.side, args.seed):
                    for which, value in measured(detector, manifest, composite).items():
                        found.setdefault((which, composite.kind), []).append(value)
                    progress.advance(task)
            rows += [
                {"model": name, "map": which, "kind": kind, **summary(values, args.seed)}
                for (which, kind), values in found.items()
            ]
    facts = {"theme": "localisation", "time": now(), "commit": code_commit(), "side": args.side,
             "count": args.count, "seed": args.seed, "rows": rows}  # fmt: skip
    for row in rows:
        console().print(
            f"{row['model']:16} {row['map']:10} {row['kind']:30} "
            f"{row['auc']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
            markup=False,
            highlight=False,
        )
    write_whole(args.output, json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_program("benchmarks.localise", __doc__, add_arguments, run))
