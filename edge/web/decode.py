"""Decodes an upload in a process of its own, which is small, slow and short-lived by decree.

    python -m edge.web.decode FILE LIMITS [TRUST.pem]

Writes to stdout one line of JSON on the whole, for each picture a line of JSON and its pixels, and
a line with `end`, without which it was killed on the way; or a line with an `error`. Whatever a
hostile file makes a decoder do, the server does not do it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be taken for an upload.

    Attributes:
        pixels: of a picture.
        memory: in bytes.
        cpu_s: of computing.
        wait_s: for the next picture.
        clip_s: of a clip that are scored.
        clip_fps: pictures of a clip that are scored, per second.
    """

    pixels: int = 48_000_000
    memory: int = 2 << 30
    cpu_s: int = 60
    wait_s: float = 90.0
    clip_s: float = 120.0
    clip_fps: float = 5.0


_SUFFIXES = {
    b"BM": ".bmp", b"P4": ".ppm", b"P5": ".ppm", b"P6": ".ppm", b"\0\0\0\x0cjP": ".jp2",
    b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"II*\0": ".tif",
    b"MM\0*": ".tif", b"\x1a\x45\xdf\xa3": ".mkv", b"\0\0\x01\xba": ".mpg",
}  # fmt: skip


def suffix_of(head: bytes) -> str | None:
    """The suffix of a file that begins so (200 bytes); None for neither picture nor clip."""
    if head[:4] == b"RIFF":
        return {b"WEBP": ".webp", b"AVI ": ".avi"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return ".mp4"  # stills of that family are known by their brand
    if head[:1] == b"G" == head[188:189]:
        return ".ts"
    return next((suffix for mark, suffix in _SUFFIXES.items() if head.startswith(mark)), None)


def main(path: Path, limits: Limits, out: BinaryIO, trust: Path | None = None) -> int:
    """Decode a file; 0, or 1 where it cannot be."""
    os.nice(10)
    for what, most in ((resource.RLIMIT_CPU, limits.cpu_s), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(what, (most, most))

    from PIL import Image

    from edge.errors import PatchwatchError

    Image.MAX_IMAGE_PIXELS = limits.pixels // 2  # Pillow refuses beyond twice of it
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
        for chunk in _chunks(path, limits, trust):
            out.write(chunk)
    except PatchwatchError as error:
        out.write(_line({"error": str(error).removeprefix(f"{path}: ")}))
        return 1
    except MemoryError:
        out.write(_line({"error": "it needs too much memory."}))
        return 1
    return 0


def _chunks(path: Path, limits: Limits, trust: Path | None) -> Iterator[bytes]:
    from edge.errors import SourceError
    from edge.pixels import bgr_frame
    from edge.provenance import read_provenance
    from edge.record import claim_records
    from edge.sources import open_recording

    with open_recording(path, name=str(path)) as source:
        frames = iter(source)
        frame = next(frames, None)
        if frame is None:
            raise SourceError("it holds no picture.")
        step = 1 if source.kind == "stills" else max(1, round((source.fps or 25) / limits.clip_fps))
        fps = None if source.fps is None else source.fps / step
        length = None if source.length is None else -(-source.length // step)
        if fps and length:
            length = min(length, int(limits.clip_s * fps))
        claims = claim_records(read_provenance(path, trust=trust))
        yield _line({"kind": source.kind, "fps": fps, "length": length, "claims": claims})
        number = 0
        while frame is not None and (frame.pts or 0) <= limits.clip_s:
            if frame.image.size > 3 * limits.pixels:
                raise SourceError(
                    f"has more than {limits.pixels // 10**6} million pixels. Shrink it."
                )
            if number % step == 0:
                image = bgr_frame(frame).image
                yield _line({"hw": image.shape[:2], "pts": frame.pts, "aspect": frame.pixel_aspect})
                yield image.tobytes()
            number += 1
            # Of pictures without time, such as the pages of a TIFF, the first stands for all.
            frame = None if source.kind == "stills" else next(frames, None)
    yield _line({"end": True})


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record).encode() + b"\n"


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        file, limits, *trust = sys.argv[1:]
        given = Limits(**json.loads(limits))
        sys.exit(main(Path(file), given, sys.stdout.buffer, *map(Path, trust)))
