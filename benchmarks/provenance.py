"""How much longer scoring a picture takes where what its file says of itself is read too.

    python -m benchmarks.provenance

JPEGs with EXIF and XMP, as cameras and editors write them, are scored with the default model, each
with and without reading, in random order. The result is the median of the ratios of the same
picture, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from benchmarks.results_file import OUTPUT, describe_machine, file_stem, now, write_json
from benchmarks.rounds import ratio_of_rounds
from edge.config import RunConfig
from edge.scoring import score_file
from edge.terminal import open_detector, progress_bar

SIZE_WH = (1024, 768)
PICTURES = 1000
_SEED = 26
_PACKET = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-"
    "syntax-ns#'><rdf:Description xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:CreatorTool='Editor "
    "1.0' xmp:Rating='3'/></rdf:RDF></x:xmpmeta>" + " " * 2048
)


def main() -> int:
    """Measure, print the ratio and write it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=PICTURES, metavar="N")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = _measure(_pictures(Path(folder), args.pictures))
    result: dict[str, Any] = {
        "schema": 1,
        "theme": "provenance",
        "time": now(),
        "machine": describe_machine(),
        "size_wh": SIZE_WH,
        "rows": rows,
    }
    path = args.output / f"{file_stem('provenance')}.json"
    write_json(path, result)
    for row in rows:
        sys.stdout.write(f"{row}\n")
    sys.stdout.write(f"{path}\n")
    return 0


def _pictures(folder: Path, count: int) -> list[Path]:
    """Photographs' sizes and metadata; the pixels are smooth noise, as what counts is reading."""
    rng, paths = np.random.default_rng(_SEED), []
    exif = PillowImage.Exif()
    exif.update({0x10F: "Maker", 0x110: "Model 1", 0x131: "Editor 1.0"})
    exif.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", 0x927C: bytes(20_000)})
    for number in range(count):
        small = PillowImage.fromarray(rng.integers(0, 256, (96, 128, 3), np.uint8))
        paths.append(folder / f"{number}.jpg")
        options: dict[str, Any] = {"exif": exif, "xmp": _PACKET.encode(), "quality": 90}
        small.resize(SIZE_WH, PillowImage.Resampling.BICUBIC).save(paths[-1], **options)
    return paths


def _measure(paths: list[Path]) -> list[dict[str, object]]:
    config, order = RunConfig(), random.Random(_SEED)
    read = config.provenance.reader()
    assert read is not None
    plain_s: dict[int, float] = {}
    reading_s: dict[int, float] = {}
    with open_detector(config, None) as detector, progress_bar(hidden=False) as progress:

        def plain(path: Path) -> None:
            score_file(detector, path, config)

        def reading(path: Path) -> None:
            score_file(detector, path, config)
            read(str(path))

        plain(paths[0])
        for number, path in enumerate(progress.track(paths, description="scoring")):
            arms: list[tuple[dict[int, float], Callable[[Path], None]]] = [
                (plain_s, plain),
                (reading_s, reading),
            ]
            order.shuffle(arms)
            for seconds, arm in arms:
                began = time.perf_counter()
                arm(path)
                seconds[number] = time.perf_counter() - began
    ratio, low, high = ratio_of_rounds(reading_s, plain_s, _SEED)
    total = sum(reading_s.values()) / sum(plain_s.values())
    return [
        {
            "pictures": len(paths),
            "median_ratio": ratio,
            "low": low,
            "high": high,
            "ratio_of_sums": total,
        }
    ]


if __name__ == "__main__":
    raise SystemExit(main())
