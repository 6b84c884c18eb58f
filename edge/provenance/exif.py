"""EXIF: the camera, the software, dates, and what is private. A bounded reader of TIFF structures.

Pillow would keep a copy of each of 65,535 values, all of which may point to the same megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from edge.provenance.blocks import MOST_PACKET, MOST_TEXT, Read, decoded
from edge.provenance.claims import Claim, Text

_Order = Literal["little", "big"]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8}
"""Bytes of a value by its type: byte, text, short, long, fraction, opaque, signed fraction."""

_MOST_ENTRIES = 1024
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825

WIDTH, HEIGHT, DESCRIPTION, MAKE, MODEL = 0x100, 0x101, 0x10E, 0x10F, 0x110
ORIENTATION, SOFTWARE, ARTIST, XMP, IPTC, COPYRIGHT = 0x112, 0x131, 0x13B, 0x2BC, 0x83BB, 0x8298
MANIFEST, TAKEN, MAKER_NOTE, COMMENT = 0xCD41, 0x9003, 0x927C, 0x9286
EXIF_WIDTH, EXIF_HEIGHT, OWNER, BODY_SERIAL, LENS_SERIAL = 0xA002, 0xA003, 0xA430, 0xA431, 0xA435
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x201, 0x202

_TEXTS = {
    DESCRIPTION: "ImageDescription",
    MAKE: "Make",
    MODEL: "Model",
    SOFTWARE: "Software",
    ARTIST: "Artist",
    COPYRIGHT: "Copyright",
    TAKEN: "DateTimeOriginal",
    COMMENT: "UserComment",
    OWNER: "CameraOwnerName",
    BODY_SERIAL: "BodySerialNumber",
    LENS_SERIAL: "LensSerialNumber",
}
_NUMBERS = {WIDTH, HEIGHT, ORIENTATION, EXIF_WIDTH, EXIF_HEIGHT, _THUMBNAIL, _THUMBNAIL_LENGTH}
_LONG = {XMP, IPTC}
_PRESENCE = {MAKER_NOTE, MANIFEST}


@dataclass(slots=True)
class Exif:
    """What was found: texts and numbers by tag, degrees, and the small picture."""

    texts: dict[int, str] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    packets: dict[int, bytes] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    gps: dict[int, str] = field(default_factory=dict)
    thumbnail: bytes = b""

    def found_texts(self) -> Iterator[Text]:
        """The texts with the names of their tags."""
        for tag, text in self.texts.items():
            yield Text("EXIF", _TEXTS[tag], text)

    def claims(self) -> Iterator[Claim]:
        """What it says; generators' own notes in it are looked for elsewhere."""
        make, model = (self.texts.get(tag, "").strip() for tag in (MAKE, MODEL))
        if (make or model) and "{" not in make + model:
            camera = model if model.casefold().startswith(make.casefold()) else f"{make} {model}"
            note = "with" if MAKER_NOTE in self.lengths else "without"
            yield Claim("captured", f"camera {camera}, {note} a maker note", "EXIF")
        if software := self.texts.get(SOFTWARE):
            yield Claim("software", software, "EXIF")
        if taken := self.texts.get(TAKEN):
            yield Claim("date", taken, "EXIF")
        for tag in (ARTIST, COPYRIGHT, OWNER):
            if text := self.texts.get(tag, "").strip():
                yield Claim("name", f"{_TEXTS[tag]}: {text}", "EXIF")
        for tag in (BODY_SERIAL, LENS_SERIAL):
            if text := self.texts.get(tag, "").strip():
                yield Claim("serial", f"{_TEXTS[tag]}: {text}", "EXIF")
        if {2, 4} <= self.gps.keys():
            place = f"{self.gps[2]} {self.gps.get(1, '')}, {self.gps[4]} {self.gps.get(3, '')}"
            yield Claim("location", place, "EXIF")


def read_exif(read: Read) -> Exif:
    """Read a TIFF structure; entries whose offsets or lengths are wrong are passed over."""
    found, head = Exif(), read(0, 8)
    if head[:4] not in (b"II*\0", b"MM\0*"):
        return found
    order: _Order = "little" if head[:2] == b"II" else "big"
    following = _directory(read, int.from_bytes(head[4:8], order), order, found)
    if more := found.numbers.pop(_EXIF_IFD, 0):
        _directory(read, more, order, found)
    if place := found.numbers.pop(_GPS_IFD, 0):
        _gps(read, place, order, found)
    if following:
        small = Exif()
        _directory(read, following, order, small)
        start, length = (small.numbers.get(tag, 0) for tag in (_THUMBNAIL, _THUMBNAIL_LENGTH))
        found.thumbnail = read(start, length) if 0 < length <= MOST_TEXT else b""
    return found


def _entries(read: Read, start: int, order: _Order) -> Iterator[tuple[int, int, int, int]]:
    """Of each entry tag, type, count and the offset of its values."""
    count = int.from_bytes(read(start, 2), order)
    table = read(start + 2, 12 * min(count, _MOST_ENTRIES))
    for at in range(0, len(table) - 11, 12):
        tag, kind = (int.from_bytes(table[at + n : at + n + 2], order) for n in (0, 2))
        count, offset = (int.from_bytes(table[at + n : at + n + 4], order) for n in (4, 8))
        if kind in _SIZES:
            inside = _SIZES[kind] * count <= 4
            yield tag, kind, count, start + 2 + at + 8 if inside else offset


def _directory(read: Read, start: int, order: _Order, found: Exif) -> int:
    """Read one directory; where the next begins, 0 for none."""
    for tag, kind, count, offset in _entries(read, start, order):
        length = _SIZES[kind] * count
        if tag in _PRESENCE:
            found.lengths[tag] = length
        elif tag in _LONG:
            found.packets[tag] = read(offset, min(length, MOST_PACKET + 1))
        elif tag in _TEXTS and kind in (1, 2, 7):
            data = read(offset, min(length, MOST_TEXT))
            found.texts[tag] = _comment(data) if tag == COMMENT else decoded(data.rstrip(b"\0 "))
        elif tag in _NUMBERS or tag in (_EXIF_IFD, _GPS_IFD):
            found.numbers[tag] = int.from_bytes(read(offset, min(_SIZES[kind], 4)), order)
    entries = int.from_bytes(read(start, 2), order)
    return int.from_bytes(read(start + 2 + 12 * entries, 4), order)


def _gps(read: Read, start: int, order: _Order, found: Exif) -> None:
    for tag, kind, count, offset in _entries(read, start, order):
        if tag in (1, 3) and kind == 2:
            found.gps[tag] = decoded(read(offset, min(count, 2)).rstrip(b"\0"))
        elif tag in (2, 4) and kind == 5 and count == 3:
            found.gps[tag] = _degrees(read(offset, 24), order)


def _degrees(data: bytes, order: _Order) -> str:
    values = [int.from_bytes(data[at : at + 4], order) for at in range(0, len(data), 4)]
    total = Fraction(0)
    for part, (top, bottom) in enumerate(zip(values[::2], values[1::2], strict=False)):
        total += Fraction(top, bottom or 1) / 60**part
    return f"{float(total):.5f}"


def _comment(data: bytes) -> str:
    """A `UserComment`: eight bytes name its encoding, and the order of UTF-16 is not said."""
    code, body = data[:8], data[8:]
    if code.startswith(b"UNICODE"):
        big = body[::2].count(0) >= body[1::2].count(0)
        return body.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0\ufeff ")
    if code.startswith(b"ASCII") or not code.strip(b"\0"):
        return decoded(body.strip(b"\0 "))
    return decoded(data.strip(b"\0 "))
