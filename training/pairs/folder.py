"""A folder of pairs: photographs and their reconstructions, pixel on pixel, without loss.

    PAIRS/0_real/<source>/<name>.webp            exactly the region that was reconstructed
    PAIRS/1_fake/<decoder>/<source>--<name>.webp what the decoder made of it
    PAIRS/pairs.jsonl                            a line for each pair
    PAIRS/pairs.json                             where the folder comes from

It is a labelled folder too, in which the decoders are the sources of the fakes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as PillowImage
from pydantic import Field, ValidationError

from edge.errors import SourceError
from edge.files import write_whole
from edge.labels import LABEL_FOLDERS
from edge.schema import Strict, fault
from edge.types import Image
from training.files import JsonLines

LINES, MANIFEST = "pairs.jsonl", "pairs.json"
_METHOD = 2
"""Of the lossless WebP; 4 takes three times as long (44 against 13 ms for 256×256) to save 2 %."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A photograph and its reconstruction, of the same size, and how near that comes."""

    real: Path
    fake: Path
    decoder: str
    source: str = ""
    psnr_db: float = 0.0


class DecoderFigures(Strict):
    """What one decoder came to."""

    pairs: int = Field(default=0, description="How many it made.")
    psnr_db: float | None = Field(default=None, description="Mean over them.")
    hf_ratio: float | None = Field(
        default=None, description="Median over them: high-frequency energy kept."
    )
    made_by: str = Field(default="", description="The file that it was read from.")


class Manifest(Strict):
    """Where a folder of pairs comes from."""

    schema_version: Literal[1] = 1
    photographs: str = Field(description="The folder's name, and how many.")
    size: int = Field(description="Largest side of a region in pixels.")
    multiple: int = Field(description="Sides of every region are multiples of it.")
    seed: int = Field(description="Of the regions' places.")
    limit: int | None = Field(default=None, description="Photographs at most; null for all.")
    commit: str | None = Field(default=None, description="Of the program that made it.")
    decoders: dict[str, DecoderFigures] = Field(default_factory=dict)
    complete: bool = Field(default=False, description="All that was asked for is there.")


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """The pairs of a folder, complete or not, as they were made; no picture is opened.

    Raises:
        SourceError: it is no such folder, a line is of another form, a file is missing, or there
            is no pair.
    """
    read_manifest(path)
    pairs = tuple(_pair(path, line) for line in JsonLines(path / LINES).read())
    if not pairs:
        raise SourceError(f"{path} has no pair yet. Run `patchwatch pairs make` to its end.")
    for file in (file for pair in pairs for file in (pair.real, pair.fake)):
        if not file.is_file():
            raise SourceError(
                f"{path / LINES} names {file.relative_to(path)}, which is missing. Make the "
                "folder again, or take that line out."
            )
    return pairs


def read_manifest(path: Path) -> Manifest:
    """Where a folder of pairs comes from; a SourceError where that cannot be read."""
    try:
        return Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except OSError as error:
        raise SourceError(
            f"{path} is no folder of pairs: expected {MANIFEST} in it, found none that can be "
            "read. `patchwatch pairs make` makes such folders."
        ) from error
    except ValidationError as error:
        raise SourceError(
            f"{path / MANIFEST} is no manifest of pairs: {fault(error, 'the file')}. Make the "
            "folder again with `patchwatch pairs make`."
        ) from error


class PairWriter:
    """Writes a folder of pairs, in which each line stands for two files that are whole.

    The folder may hold pairs from before, in `done` by the names of their fake files. A SinkError
    says that it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lines = path, JsonLines(path / LINES)
        self.done: dict[str, dict[str, Any]] = {line["fake"]: line for line in self._lines.read()}

    def names(self, source: str, name: str, decoder: str) -> tuple[str, str]:
        """Names of a pair's files within the folder: photograph, reconstruction."""
        real = f"{LABEL_FOLDERS[0]}/{source}/{name}.webp"
        return real, f"{LABEL_FOLDERS[1]}/{decoder}/{source}--{name}.webp"

    def add(
        self, names: tuple[str, str], pictures: tuple[Image, Image], figures: dict[str, Any]
    ) -> None:
        """Write a pair; the photograph's file only where it is not there from another decoder.

        `names` are from `names`, `pictures` uint8 [H, W, 3] BGR of one size, `figures` the rest
        of the line: `decoder`, `source`, `psnr_db`, `hf_ratio`.
        """
        real, fake = names
        if not (self._path / real).exists():
            write_whole(self._path / real, lossless_webp(pictures[0]))
        write_whole(self._path / fake, lossless_webp(pictures[1]))
        self.done[fake] = {"real": real, "fake": fake, **figures}
        self._lines.add(self.done[fake])


def lossless_webp(picture: Image) -> bytes:
    """A picture, uint8 [H, W, 3] BGR, as a file from which the same pixels are read."""
    file = io.BytesIO()
    rgb = PillowImage.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
    rgb.save(file, "WEBP", lossless=True, quality=50, method=_METHOD)
    return file.getvalue()


def _pair(folder: Path, line: Any) -> Pair:
    try:
        real, fake = folder / line["real"], folder / line["fake"]
        return Pair(real, fake, str(line["decoder"]), real.parent.name, float(line["psnr_db"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{folder / LINES}: expected lines with real, fake, decoder and psnr_db, found "
            f"{str(line)[:60]!r}. Make the folder again with `patchwatch pairs make`."
        ) from error
