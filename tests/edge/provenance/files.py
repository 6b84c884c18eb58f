"""Pictures and videos with metadata, written by the tests."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from tests.edge.sources.clips import encode
from tests.fakes import grey


def picture(height: int = 96, width: int = 128, seed: int = 0) -> PillowImage.Image:
    """Something with shapes, so that two of them differ."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return PillowImage.fromarray(small).resize((width, height), PillowImage.Resampling.BICUBIC)


def save(path: Path, **options: Any) -> Path:
    """A picture, or a video, of the kind that the suffix names."""
    if path.suffix == ".mp4":
        return encode(path, [grey(level) for level in (20, 90, 160)])
    if path.suffix == ".heic":
        pytest.importorskip(
            "pillow_heif", reason="needs pillow-heif to write HEIC"
        ).register_heif_opener()
    picture().save(path, **options)
    return path


def png(path: Path, texts: Mapping[str, str], *, itxt: bool = False, packed: bool = False) -> Path:
    """A PNG with texts."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        (info.add_itxt if itxt else info.add_text)(key, text, zip=packed)
    return save(path, pnginfo=info)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(path: Path, *chunks: bytes) -> Path:
    """A PNG with chunks after its header."""
    data = save(path).read_bytes()
    path.write_bytes(data[:33] + b"".join(chunks) + data[33:])
    return path


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def with_segment(path: Path, *segments: bytes, **options: Any) -> Path:
    """A JPEG with segments at its beginning."""
    data = save(path, **options).read_bytes()
    path.write_bytes(data[:2] + b"".join(segments) + data[2:])
    return path


XMP = b"http://ns.adobe.com/xap/1.0/\0"


def packet(attributes: str = "", elements: str = "") -> bytes:
    """An XMP packet."""
    spaces = {
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "dc": "http://purl.org/dc/elements/1.1/",
        "dcterms": "http://purl.org/dc/terms/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
    }
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in spaces.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {declared}>'
        f'<rdf:Description rdf:about="" {attributes}>{elements}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def exif(**tags: Any) -> PillowImage.Exif:
    """EXIF by the names of its tags."""
    from PIL.ExifTags import Base

    made = PillowImage.Exif()
    inner = made.get_ifd(0x8769)
    for name, value in tags.items():
        tag = Base[name]
        (inner if tag >= 0x829A and tag not in (0x8298,) else made)[tag] = value
    return made
