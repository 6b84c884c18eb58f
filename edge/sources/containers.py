"""What a file says of itself and FFmpeg does not pass on: its size, its codec, that it is no film.

The size tells a truncated file from a complete one. The announced number of frames does not: an
edit list hides frames of an intact mp4, and in Matroska it is an estimate. The size is exact in
MP4/QuickTime (ISO 14496-12), Matroska/WebM (RFC 9559) and AVI (RIFF).
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx"}
_EBML_HEADER, _EBML_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"

_SEARCHED = 1 << 20  # bytes at each end of a file
# The codec of a video track: sample description, Matroska's CodecID, stream header of AVI.
_CODEC = re.compile(
    rb"hdlr.{8}vide.*?stsd.{12}(\w{4})|\x86[\x80-\xbf](V_[\w/.]+)|strh.{4}vids(\w{4})", re.DOTALL
)

LOOKED_AT = 4096
"""Bytes at the start of a file."""

_BEFORE = rb"\s*(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*"
_PAGE = re.compile(_BEFORE + rb"<(?:!doctype html|html|head)\b", re.I | re.S)
_BOM = b"\xef\xbb\xbf"


def codec_name(path: Path) -> str | None:
    """What a file calls the codec of its video; None where that is not found."""
    try:
        with path.open("rb") as file:
            head = file.read(_SEARCHED)
            file.seek(max(len(head), path.stat().st_size - _SEARCHED))
            found = _CODEC.search(head) or _CODEC.search(file.read(_SEARCHED))
    except (OSError, ValueError):  # of an address
        return None
    return next(name.decode() for name in found.groups() if name) if found else None


def announced_size(path: Path) -> int | None:
    """Bytes of the whole file as its container announces them; None where it does not say."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if head[4:8] in _BOXES:
                return _end_of_boxes(file, path.stat().st_size)
            if head[:4] == _EBML_HEADER:
                return _matroska_size(file)
            if head[:4] == b"RIFF" and head[8:] in (b"AVI ", b"WEBP"):
                return _riff_size(file, path.stat().st_size)
    except (OSError, struct.error, IndexError, OverflowError):  # cut or hostile headers
        pass
    return None


def is_cut(path: Path) -> bool:
    """Whether a file is shorter than its container announces."""
    size = announced_size(path)
    return size is not None and path.stat().st_size < size


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    start = 0
    while start + 8 <= size:
        file.seek(start)
        (length,) = struct.unpack(">I4x", file.read(8))
        header = 8
        if length == 1:
            (length,), header = struct.unpack(">Q", file.read(8)), 16
        if length < header:  # 0: to the end of the file; else not a box
            return size
        start += length
    return start


def _matroska_size(file: BinaryIO) -> int | None:
    """End of the segment; None where the recorder left it open."""
    file.seek(4)
    file.seek(_ebml_length(file) or 0, 1)
    if file.read(4) != _EBML_SEGMENT:
        return None
    length = _ebml_length(file)
    return None if length is None else file.tell() + length


def _ebml_length(file: BinaryIO) -> int | None:
    """A length of 1 to 8 bytes, as many as the first byte has leading zeros plus one."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big") & (1 << 7 * (more + 1)) - 1
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _riff_size(file: BinaryIO, size: int) -> int | None:
    """End of the last of the RIFF chunks; None where the recorder did not write their lengths."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF" or not length:
            break
        end += 8 + length + length % 2
    return end or None


def foreign(head: bytes) -> str | None:
    """What a file is by its first bytes, and what to do; None where nothing is known."""
    if head.startswith(b"%PDF"):
        return (
            "a PDF document, and no picture or video. Turn its pages into pictures first: "
            "pdftoppm -png FILE.pdf page"
        )
    if _PAGE.match(head.removeprefix(_BOM)):
        return (
            "a web page, and no picture or video. Give the address of the file itself; of many "
            "sites yt-dlp fetches it: pip install yt-dlp && yt-dlp -o clip.mp4 ADDRESS"
        )
    return None
