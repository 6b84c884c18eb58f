"""Finds metadata in a file without decoding a pixel, and never reads more than a bounded part.

JPEG, PNG, WebP, TIFF and the boxes of MP4, AVIF and HEIC are walked here; Pillow and FFmpeg give
what lies inside of the last three.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edge.provenance.claims import Text

MOST_TEXT = 64 << 10
"""Bytes of a text that are looked at; what follows is left."""

MOST_PACKET = 1 << 20
"""Bytes of an XMP packet, or of EXIF outside of a TIFF; longer ones are not read."""

MOST_MANIFEST = 32 << 20
"""Bytes of content credentials."""

_MOST_PARTS = 1 << 16
_MOST_TEXTS = 64
_MOST_HEIF = 256 << 20

Read = Callable[[int, int], bytes]
"""Bytes of a TIFF structure by offset and length; fewer at its end."""

_XMP_JPEG, _EXIF_JPEG = b"http://ns.adobe.com/xap/1.0/\0", b"Exif\0\0"
_IPTC_JPEG, _XMP_PNG = b"Photoshop 3.0\0", "XML:com.adobe.xmp"
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_STILL_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"}
_STILL_BRANDS |= dict.fromkeys((b"heic", b"heix", b"heim", b"mif1", b"msf1"), "HEIC")

MIMES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WebP": "image/webp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIC": "image/heic",
    "MP4": "video/mp4",
}
"""Kinds of files that may hold content credentials, by the name that `Blocks.kind` has."""


@dataclass(slots=True)
class Blocks:
    """The metadata of a file, undecoded.

    Attributes:
        kind: a key of `MIMES`, or `Matroska`; empty for what is not known.
        size_hw: height and width in pixels where they stand in a header that is read anyway.
        exif: reads the TIFF structure.
        xmp: the packets.
        iptc: Photoshop's resources, which hold IPTC's older fields.
        texts: of a PNG, a JPEG's comment, or tags of a video.
        manifest: bytes of content credentials; 0 without.
        tables: quantisation tables of a JPEG by their number, in zigzag order.
        unread: what was not read, and why.
    """

    kind: str = ""
    size_hw: tuple[int, int] | None = None
    exif: Read | None = None
    xmp: list[bytes] = field(default_factory=list)
    iptc: bytes = b""
    texts: list[Text] = field(default_factory=list)
    manifest: int = 0
    tables: dict[int, tuple[int, ...]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def add_xmp(self, packet: bytes) -> None:
        """Keep a packet, with or without the name before it in a JPEG, unless it is too long."""
        packet = packet.removeprefix(_XMP_JPEG)
        if len(packet) > MOST_PACKET:
            self.unread.append(f"XMP of more than {MOST_PACKET >> 10} KB")
        elif packet:
            self.xmp.append(packet)

    def add_exif(self, data: bytes) -> None:
        """Keep EXIF, with or without the name that stands before it in a JPEG."""
        if len(data) > MOST_PACKET:
            self.unread.append(f"EXIF of more than {MOST_PACKET >> 10} KB")
            return
        data = data.removeprefix(_EXIF_JPEG)
        self.exif = lambda offset, length: data[offset : offset + length]

    def add_text(self, where: str, key: str, text: bytes | str) -> None:
        """Keep the beginning of a text."""
        if len(self.texts) < _MOST_TEXTS:
            self.texts.append(Text(where, key, decoded(text[:MOST_TEXT])))


def find_blocks(file: BinaryIO, path: Path) -> Blocks:
    """The metadata of an open file; what is damaged ends the search and keeps what was found."""
    found, head = Blocks(), file.read(12)
    if head.startswith(b"\xff\xd8\xff"):
        found.kind = "JPEG"
        _walk_jpeg(file, found)
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        found.kind = "PNG"
        _walk_png(file, found)
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        found.kind = "WebP"
        _walk_riff(file, found)
    elif head[:4] in (b"II*\0", b"MM\0*"):
        found.kind = "TIFF"
        found.exif = lambda offset, length: _read_at(file, offset, length)
    elif head[4:8] == b"ftyp":
        found.kind = _STILL_BRANDS.get(head[8:12], "MP4")
        _walk_boxes(file, found)
        (_add_tags if found.kind == "MP4" else _add_heif)(file, path, found)
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        found.kind = "Matroska"
        _add_tags(file, path, found)
    return found


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _walk_jpeg(file: BinaryIO, found: Blocks) -> None:
    file.seek(2)
    for _ in range(_MOST_PARTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            return
        length = int.from_bytes(head[2:], "big") - 2
        if head[1] == 0xFF:  # a byte that fills
            file.seek(-3, os.SEEK_CUR)
        elif length < 0:
            return
        elif take := _JPEG_PARTS.get(head[1]):
            take(found, file.read(length))
        else:
            file.seek(length, os.SEEK_CUR)


def _take_app1(found: Blocks, body: bytes) -> None:
    if body.startswith(_XMP_JPEG):
        found.add_xmp(body)
    elif body.startswith(_EXIF_JPEG) and found.exif is None:
        found.add_exif(body)


def _take_app11(found: Blocks, body: bytes) -> None:
    # A store of more than 64 KB has several of them, and others than C2PA use the segment too.
    if body[:2] == b"JP" and (found.manifest or b"c2pa" in body[:128]):
        found.manifest += len(body)


def _take_app13(found: Blocks, body: bytes) -> None:
    if body.startswith(_IPTC_JPEG):
        found.iptc += body.removeprefix(_IPTC_JPEG) if len(found.iptc) < MOST_PACKET else b""


def _take_size(found: Blocks, body: bytes) -> None:
    if len(body) >= 5 and found.size_hw is None:
        found.size_hw = struct.unpack(">HH", body[1:5])


def _take_tables(found: Blocks, body: bytes) -> None:
    while body:
        wide, number = body[0] >> 4, body[0] & 15
        values = struct.unpack_from(">64H" if wide else "64B", body.ljust(129, b"\0"), 1)
        found.tables[number] = values
        body = body[129 if wide else 65 :]


_JPEG_PARTS: dict[int, Callable[[Blocks, bytes], None]] = {
    0xE1: _take_app1,
    0xEB: _take_app11,
    0xED: _take_app13,
    0xFE: lambda found, body: found.add_text("JPEG comment", "", body),
    0xDB: _take_tables,
    **dict.fromkeys((0xC0, 0xC1, 0xC2), _take_size),
}


def _walk_png(file: BinaryIO, found: Blocks) -> None:
    file.seek(8)
    for _ in range(_MOST_PARTS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        length, kind = struct.unpack(">I4s", head)
        end = file.tell() + length + 4
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            # A keyword is short, and so are languages; the text may be longer, packed or not.
            _take_text(found, kind, file.read(min(length, MOST_PACKET + 1024)))
        elif kind == b"eXIf":
            found.add_exif(file.read(min(length, MOST_PACKET + 1)))
        elif kind == b"caBX":
            found.manifest = length
        elif kind == b"IHDR":
            width, height = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
            found.size_hw = height, width
        file.seek(end)


def _take_text(found: Blocks, kind: bytes, body: bytes) -> None:
    keyword, _, text = body.partition(b"\0")
    key = decoded(keyword[:79])
    most = MOST_PACKET + 1 if key == _XMP_PNG else MOST_TEXT
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, text = text[:1] == b"\1", text[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        text = text[1:]
    if packed:
        try:
            text = zlib.decompressobj().decompress(text, most)
        except zlib.error:
            found.unread.append(f"the text {key!r}, whose compression is damaged")
            return
    if key == _XMP_PNG:
        found.add_xmp(text)
    else:
        found.add_text("PNG text", key, text)


def _walk_riff(file: BinaryIO, found: Blocks) -> None:
    for _ in range(_MOST_PARTS):
        head = file.read(8)
        if len(head) < 8:
            return
        kind, length = struct.unpack("<4sI", head)
        end = file.tell() + length + length % 2
        if kind == b"EXIF":
            found.add_exif(file.read(min(length, MOST_PACKET + 1)))
        elif kind == b"XMP ":
            found.add_xmp(file.read(min(length, MOST_PACKET + 1)))
        elif kind == b"C2PA":
            found.manifest = length
        elif kind == b"VP8X":
            body = file.read(10).ljust(10, b"\0")
            width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
            found.size_hw = height, width
        file.seek(end)


def _walk_boxes(file: BinaryIO, found: Blocks) -> None:
    size, start = os.fstat(file.fileno()).st_size, 0
    for _ in range(_MOST_PARTS):
        head = _read_at(file, start, 32)
        if len(head) < 8:
            return
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        length = length or size - start  # the last box may say nothing of its length
        if length < header:
            return
        if head[4:8] == b"uuid" and head[header : header + 16] == _C2PA_BOX:
            found.manifest = max(found.manifest, length)
        elif head[4:8] == b"uuid" and head[header : header + 16] == _XMP_BOX:
            body = min(length - header - 16, MOST_PACKET + 1)
            found.add_xmp(_read_at(file, start + header + 16, body) if body > 0 else b"")
        start += length


def _add_tags(file: BinaryIO, path: Path, found: Blocks) -> None:
    from edge.sources.video import read_tags

    for key, text in read_tags(path).items():
        found.add_text("video tag", key, text)


def _add_heif(file: BinaryIO, path: Path, found: Blocks) -> None:
    """Add what Pillow finds, which knows where such a file has its items; no pixel is decoded."""
    from PIL import Image as PillowImage

    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    PillowImage.init()
    formats: list[str] = [name for name in ("AVIF", "HEIF") if name in PillowImage.OPEN]
    if os.fstat(file.fileno()).st_size > _MOST_HEIF or not formats:
        found.unread.append(f"EXIF and XMP of this {found.kind}, which Pillow cannot open here")
        return
    file.seek(0)
    try:
        with PillowImage.open(file, formats=formats) as image:
            found.size_hw = image.height, image.width
            found.add_exif(image.info.get("exif") or b"")
            found.add_xmp(image.info.get("xmp") or b"")
    except Exception:  # on damaged bytes Pillow's decoders raise nearly anything
        found.unread.append(f"EXIF and XMP of this {found.kind}, which Pillow cannot open here")


def decoded(text: bytes | str) -> str:
    """Bytes as text: UTF-8, even if they were cut inside of a letter, else Latin-1."""
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        cut = error.start >= len(text) - 3 and error.reason == "unexpected end of data"
        return text.decode("utf-8", "ignore") if cut else text.decode("latin-1")
