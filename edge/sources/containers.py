"""What a video file says of its own size, to tell a truncated file from a complete one.

The number of frames that a decoder announces does not tell: a cut without re-encoding (an edit
list) leaves announced frames unshown in a sound mp4, and in Matroska the number is an estimate from
the longest track. Its own size in bytes is exact in MP4/QuickTime (ISO 14496-12), Matroska/WebM
(RFC 9559) and AVI (RIFF), and MP4 also holds how long its video track is shown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx"}
_EBML_HEADER, _EBML_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass(frozen=True, slots=True)
class Announced:
    """What a container says of itself; None where it does not say.

    Attributes:
        size: bytes of the whole file.
        shown_s: how long its video track is shown, in seconds.
    """

    size: int | None = None
    shown_s: float | None = None


def read_announced(path: Path) -> Announced:
    """Read what a file's container announces; nothing for an unknown or unreadable one."""
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except (OSError, struct.error, IndexError, OverflowError):  # cut or hostile headers
        return Announced()


def is_cut(path: Path) -> bool:
    """Whether a file is shorter than its container announces."""
    size = read_announced(path).size
    return size is not None and path.stat().st_size < size


def _read(file: BinaryIO, size: int) -> Announced:
    head = file.read(12)
    if head[4:8] in _BOXES:
        return _read_mp4(file, size)
    if head[:4] == _EBML_HEADER:
        return Announced(_matroska_size(file))
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        return Announced(_riff_size(file, size))
    return Announced()


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    body: int
    end: int


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    while start + 8 <= end:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            (length,), header = struct.unpack(">Q", file.read(8)), 16
        if length < header:  # 0: to the end of the file; else not a box
            return
        yield _Box(kind, start + header, start + length)
        start += length


def _read_mp4(file: BinaryIO, size: int) -> Announced:
    boxes = list(_boxes(file, 0, size))
    moov = next((box for box in boxes if box.kind == b"moov" and box.end <= size), None)
    return Announced(boxes[-1].end if boxes else None, _shown_s(file, moov) if moov else None)


def _shown_s(file: BinaryIO, moov: _Box) -> float | None:
    """Duration of the first video track after its edit list, from `tkhd` and `mvhd`."""
    inside = list(_boxes(file, moov.body, moov.end))
    header = next((box for box in inside if box.kind == b"mvhd"), None)
    tracks = [{b.kind: b for b in _boxes(file, t.body, t.end)} for t in inside if t.kind == b"trak"]
    track = next((track for track in tracks if _is_video(file, track)), None)
    if header is None or track is None or b"tkhd" not in track:
        return None
    # After the times of creation and change: the scale; in tkhd track number and 4 reserved bytes.
    scale, _ = _after_times(file, header, skip=0)
    _, shown = _after_times(file, track[b"tkhd"], skip=4)
    return shown / scale if scale and shown else None


def _is_video(file: BinaryIO, track: dict[bytes, _Box]) -> bool:
    media = track.get(b"mdia")
    if media is None:
        return False
    handler = next((b for b in _boxes(file, media.body, media.end) if b.kind == b"hdlr"), None)
    if handler is None:
        return False
    file.seek(handler.body + 8)
    return file.read(4) == b"vide"


def _after_times(file: BinaryIO, box: _Box, skip: int) -> tuple[int, int]:
    """The 32-bit number after a header's two times, and the duration that follows it."""
    file.seek(box.body)
    wide = file.read(4)[0] == 1
    file.seek(16 if wide else 8, 1)
    (number,) = struct.unpack(">I", file.read(4))
    file.seek(skip, 1)
    (duration,) = struct.unpack(">Q" if wide else ">I", file.read(8 if wide else 4))
    unknown = 2 ** (64 if wide else 32) - 1
    return number, 0 if duration == unknown else duration


def _matroska_size(file: BinaryIO) -> int | None:
    """End of the segment; None where the recorder left it open."""
    file.seek(4)
    header = _ebml_length(file)
    if header is None:
        return None
    file.seek(header, 1)
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
