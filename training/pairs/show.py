"""Draw a sheet: photograph, reconstruction, and eight times their difference, a row for each pair.

Of the difference, grey is none; colours are those of reconstruction less photograph.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from edge.errors import UsageError
from edge.files import written_whole
from edge.sources.images import read_image
from edge.terminal import console, positive
from edge.types import Image
from training.data.crops import centre_crop
from training.pairs.folder import Pair, read_pairs

GAIN = 8
_TITLE_HEIGHT = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("pairs", type=Path, metavar="PAIRS", help="folder from `pairs make`")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("pairs.png"),
        metavar="PNG",
        help="file for the sheet (default: pairs.png)",
    )
    parser.add_argument(
        "--rows", type=positive, default=2, metavar="N", help="pairs of each decoder (default: 2)"
    )
    parser.add_argument(
        "--side", type=positive, default=192, metavar="PX", help="of the middle (default: 192)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the sheet; the exit code is 0."""
    if args.output.suffix.lower() != ".png":
        raise UsageError(f"--output {args.output}: expected a name that ends in .png.")
    folder = read_pairs(args.pairs)
    chosen = choose(folder.pairs, args.rows)
    image = np.concatenate([row(pair, args.side) for pair in chosen])
    file = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(file, "PNG")
    with written_whole(args.output, file.getvalue()):
        console().print(f"{args.output}: {len(chosen)} of {len(folder)} pairs")
    return 0


def choose(pairs: Sequence[Pair], rows: int) -> list[Pair]:
    """Some pairs of each decoder, by name, from all along the folder."""
    chosen = []
    for name in sorted({pair.decoder for pair in pairs}):
        own = [pair for pair in pairs if pair.decoder == name]
        places = np.linspace(0, len(own) - 1, min(rows, len(own))).round().astype(int)
        chosen += [own[place] for place in places]
    return chosen


def row(pair: Pair, side: int) -> Image:
    """A titled row, uint8 [H, 3·side, 3] BGR, of the middle of a pair; smaller ones are set on
    grey.
    """
    real, fake = (centre_crop(read_image(path), side) for path in (pair.real, pair.fake))
    difference = (fake.astype(int) - real) * GAIN + 128
    parts = [real, fake, np.clip(difference, 0, 255).astype(np.uint8)]
    sheet = np.full((side + _TITLE_HEIGHT, 3 * side, 3), 128, np.uint8)
    for place, part in enumerate(parts):
        left = place * side
        sheet[_TITLE_HEIGHT : _TITLE_HEIGHT + part.shape[0], left : left + part.shape[1]] = part
    title = PillowImage.fromarray(sheet[:_TITLE_HEIGHT])
    text = f"{pair.decoder}  {pair.psnr_db:.1f} dB  {pair.source}".encode("latin-1", "replace")
    ImageDraw.Draw(title).text((4, 2), text.decode("latin-1"), fill=(255, 255, 255))
    sheet[:_TITLE_HEIGHT] = np.asarray(title)
    return sheet
