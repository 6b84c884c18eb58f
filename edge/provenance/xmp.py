"""XMP and IPTC: source type, tools, credit, labels. A bounded parser that follows no entity."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit
from xml.parsers import expat

from edge.provenance.claims import Claim, Text
from edge.provenance.origins import origin

_READ = frozenset(
    (
        "DigitalSourceType",
        "AISystemUsed",
        "CreatorTool",
        "Software",
        "Credit",
        "UserComment",
        "description",
        "AIGC",
        "provenance",
        "creator",
        "rights",
        "SerialNumber",
        "LensSerialNumber",
        "GPSLatitude",
        "GPSLongitude",
    )
)
"""Names without their prefix, which writers do not always declare."""

_MOST_VALUES, _DEEPEST = 256, 100
_LONGEST = 16 << 10
_IPTC_FIELDS = {65: "Software", 80: "creator", 110: "Credit", 116: "rights"}


class XmpError(ValueError):
    """A packet is no XML, or holds what no packet needs."""


def read_xmp(packet: bytes) -> list[Text]:
    """The properties that say something of where a picture comes from.

    Raises:
        XmpError: it is damaged, or declares entities; nothing of it counts then.
    """
    reader = _Reader()
    # Padding goes, but not the last zero of UTF-16.
    wide = packet.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        reader.parser.Parse(packet if wide else packet.strip(b"\0 \t\r\n"), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise XmpError(str(error)) from error
    return [Text("XMP", key, text.strip()) for key, text in reader.values if text.strip()]


class _Reader:
    def __init__(self) -> None:
        self.values: list[tuple[str, str]] = []
        self._depth = 0
        self._inside: tuple[str, int] | None = None
        self._parts: list[str] = []
        self._room = 0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _refuse(self, *_: object) -> None:
        raise XmpError("it declares a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise XmpError(f"it nests more than {_DEEPEST} elements")
        for key, value in attributes.items():
            self._add(_local(key), value)
        if self._inside is None and _local(name) in _READ:
            self._inside, self._room = (_local(name), self._depth), _LONGEST

    def _text(self, text: str) -> None:
        if self._inside is not None and self._room > 0:
            self._parts.append(text)
            self._room -= len(text)

    def _end(self, name: str) -> None:
        if self._inside is not None and self._inside[1] == self._depth:
            self._add(self._inside[0], "".join(self._parts))
            self._parts.clear()
            self._inside = None
        self._depth -= 1

    def _add(self, key: str, value: str) -> None:
        if key in _READ and len(self.values) < _MOST_VALUES:
            self.values.append((key, value[:_LONGEST]))


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def read_iptc(resources: bytes) -> Iterator[Text]:
    """IPTC's older fields in Photoshop's resources: software, credit, author."""
    at = resources.find(b"8BIM\x04\x04")
    if at < 0:
        return
    at += 6
    at += (resources[at] + 2) // 2 * 2 + 4 if at < len(resources) else 4  # a padded name, a length
    while resources[at : at + 2] == b"\x1c\x02" and at + 5 <= len(resources):
        number, length = resources[at + 2], int.from_bytes(resources[at + 3 : at + 5], "big")
        value = resources[at + 5 : at + 5 + length]
        if number in _IPTC_FIELDS and length < 1 << 15:
            yield Text("IPTC", _IPTC_FIELDS[number], value.decode("utf-8", "replace"))
        at += 5 + length


def claims(texts: list[Text]) -> Iterator[Claim]:
    """What the properties say; generators and labels in them are looked for elsewhere."""
    tools = [text for _, key, text in texts if key == "AISystemUsed"]
    for where, key, text in texts:
        if key == "DigitalSourceType":
            if claim := origin(text, where, by=tools[0] if tools else ""):
                yield claim
        elif key in ("CreatorTool", "Software", "AISystemUsed"):
            yield Claim("software", text, where)
        elif key in ("creator", "rights", "Credit"):
            yield Claim("name", f"{key}: {text}", where)
        elif key.endswith("SerialNumber"):
            yield Claim("serial", f"{key}: {text}", where)
        elif key.startswith("GPS"):
            yield Claim("location", f"{key}: {text}", where)


def remote_manifest(texts: list[Text]) -> str | None:
    """The host where the content credentials of a file are kept, where it names one."""
    for _, key, text in texts:
        if key == "provenance" and text.startswith(("http://", "https://")):
            try:
                return urlsplit(text).hostname
            except ValueError:
                return None
    return None
