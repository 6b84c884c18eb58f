"""A folder of pairs: photographs and their reconstructions, pixel on pixel, without loss.

    PAIRS/0_real/<source>/<name>.webp            exactly the region that was reconstructed
    PAIRS/1_fake/<decoder>/<source>--<name>.webp what the decoder made of it
    PAIRS/pairs.jsonl                            a line for each pair
    PAIRS/pairs.json                             where the folder comes from

It is a labelled folder too, in which the decoders are the sources of the fakes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from PIL import Image as PillowImage
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.errors import SinkError, SourceError
from edge.files import written_whole
from edge.types import Image
from training.data.folders import LABEL_FOLDERS

LINES, MANIFEST = "pairs.jsonl", "pairs.json"
_SUFFIX = ".webp"
_METHOD = 2
"""Of the lossless WebP; 4 takes three times as long (44 against 13 ms for 256×256) to save 2 %."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A photograph and its reconstruction, of the same size.

    Attributes:
        real: file of the photograph.
        fake: file of the reconstruction.
        decoder: what made it.
        source: the camera or set that the photograph comes from.
        psnr_db: of the reconstruction against the photograph, in dB.
    """

    real: Path
    fake: Path
    decoder: str
    source: str
    psnr_db: float


class DecoderFigures(BaseModel):
    """What one decoder came to.

    Attributes:
        pairs: how many it made.
        psnr_db: mean over them.
        hf_ratio: median over them, of high-frequency energy against the photograph's.
        made_by: the file that it was read from, by name, and what kind it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = 0
    psnr_db: float | None = None
    hf_ratio: float | None = None
    made_by: str = ""


class Manifest(BaseModel):
    """Where a folder of pairs comes from.

    Attributes:
        photographs: their origin: the folder's name, and how many of which sources were asked for.
        size: largest side of a region in pixels.
        multiple: height and width of every region are multiples of it.
        seed: of the regions' places.
        limit: photographs at most; None for all.
        commit: of the program that made it; None outside a checkout.
        decoders: by name.
        complete: all that was asked for is there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    photographs: str
    size: int
    multiple: int
    seed: int
    limit: int | None = None
    commit: str | None = None
    decoders: dict[str, DecoderFigures] = Field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class PairFolder(Sequence[Pair]):
    """The pairs of a folder, in the order in which they were made.

    Attributes:
        path: of the folder.
        pairs: all of them.
        manifest: where they come from.
    """

    path: Path
    pairs: tuple[Pair, ...]
    manifest: Manifest

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Pair, ...]: ...
    def __getitem__(self, index: int | slice) -> Pair | tuple[Pair, ...]:
        return self.pairs[index]

    def decoders(self) -> dict[str, int]:
        """Pairs per decoder, by name."""
        names = [pair.decoder for pair in self.pairs]
        return {name: names.count(name) for name in sorted(set(names))}


def read_pairs(path: Path) -> PairFolder:
    """Read a folder of pairs; no picture is opened.

    Args:
        path: the folder, complete or not.

    Raises:
        SourceError: it is no such folder, a line is broken, a file is missing, or there is no pair.
    """
    manifest = read_manifest(path)
    text = _text(path / LINES)
    pairs = tuple(
        _pair(path, line, number) for number, line in enumerate(text.splitlines(), 1) if line
    )
    if not pairs:
        raise SourceError(f"{path} has no pair yet. Run `patchwatch pairs make` to its end.")
    for pair in pairs:
        for file in (pair.real, pair.fake):
            if not file.is_file():
                raise SourceError(
                    f"{path / LINES} names {file.relative_to(path)}, which is missing. Make the "
                    "folder anew, or take that line out."
                )
    return PairFolder(path, pairs, manifest)


def read_manifest(path: Path) -> Manifest:
    """Read where a folder of pairs comes from.

    Raises:
        SourceError: there is no such file, or it is broken.
    """
    text = _text(path / MANIFEST)
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SourceError(
            f"{path / MANIFEST} is no manifest of pairs: {where}: {first['msg']}. Make the folder "
            "anew with `patchwatch pairs make`."
        ) from error


class PairWriter:
    """Writes a folder of pairs, in which each line stands for two files that are whole.

    Args:
        path: the folder; may hold pairs from before, and is made where it is absent.
        manifest: written at once, without figures.

    Attributes:
        done: fake files that are there already, as their lines name them.

    Raises:
        SinkError: it cannot be written.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self.done = self._lines_of_before()
        self._write_manifest(manifest)

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """Lines so far, without the folder's own path."""
        return list(self.done.values())

    def names(self, source: str, name: str, decoder: str) -> tuple[str, str]:
        """Names of a pair's files within the folder: photograph, reconstruction."""
        real = f"{LABEL_FOLDERS[0]}/{source}/{name}{_SUFFIX}"
        return real, f"{LABEL_FOLDERS[1]}/{decoder}/{source}--{name}{_SUFFIX}"

    def add(
        self, names: tuple[str, str], pictures: tuple[Image, Image], figures: dict[str, Any]
    ) -> None:
        """Write a pair; the photograph's file only where it is not there from another decoder.

        Args:
            names: from `names`.
            pictures: photograph and reconstruction, uint8 [H, W, 3] BGR, of one size.
            figures: the rest of the line: `decoder`, `source`, `psnr_db`, `hf_ratio`.

        Raises:
            SinkError: a file cannot be written.
        """
        for name, picture in zip(names, pictures, strict=True):
            file = self._path / name
            if name == names[1] or not file.exists():
                with written_whole(file, lossless_webp(picture)):
                    pass
        line = {"real": names[0], "fake": names[1], **figures}
        try:
            with (self._path / LINES).open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
        except OSError as error:
            raise SinkError(f"{self._path / LINES} cannot be written: {error.strerror}.") from error
        self.done[names[1]] = line

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest with its figures.

        Raises:
            SinkError: it cannot be written.
        """
        self._write_manifest(manifest)

    def _write_manifest(self, manifest: Manifest) -> None:
        data = (manifest.model_dump_json(indent=2) + "\n").encode()
        with written_whole(self._path / MANIFEST, data):
            pass

    def _lines_of_before(self) -> dict[str, dict[str, Any]]:
        path = self._path / LINES
        if not path.is_file():
            return {}
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _is_line(line)]
        if kept != lines:  # a program that was killed leaves half a line behind
            with written_whole(path, "".join(kept).encode()):
                pass
        return {line["fake"]: line for line in map(json.loads, kept)}


def lossless_webp(picture: Image) -> bytes:
    """A picture, uint8 [H, W, 3] BGR, as a file from which the same pixels are read."""
    file = io.BytesIO()
    rgb = PillowImage.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
    rgb.save(file, "WEBP", lossless=True, quality=50, method=_METHOD)
    return file.getvalue()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path.parent} is no folder of pairs: expected {path.name} in it, found none that can "
            "be read. `patchwatch pairs make` makes such folders."
        ) from error


def _is_line(line: str) -> bool:
    try:
        return isinstance(json.loads(line)["fake"], str)
    except (ValueError, KeyError, TypeError):
        return False


def _pair(folder: Path, line: str, number: int) -> Pair:
    try:
        content = json.loads(line)
        real, fake = folder / content["real"], folder / content["fake"]
        return Pair(
            real, fake, str(content["decoder"]), real.parent.name, float(content["psnr_db"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{folder / LINES}, line {number}: expected real, fake, decoder and psnr_db, found "
            f"{line[:60]!r}. Run `patchwatch pairs make` again to mend it."
        ) from error
