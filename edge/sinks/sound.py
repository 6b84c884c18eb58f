"""The sound of a recording, copied beside its annotated pictures without decoding it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from edge.sources.address import redact, scheme_of
from edge.sources.decoding import open_container, packets_of

_log = logging.getLogger(__name__)

_TICKS_PER_S = 1_000_000  # of a container
_EARLY_S = 1.0
"""How much earlier it is looked for, as packets of sound and pictures do not begin together."""


def sound_of(source: str, path: Path | None) -> Path | None:
    """The file whose sound goes with the pictures; None where it has none that is reached.

    Args:
        source: as a person wrote it.
        path: the file of a recording; None for a camera or a stream.
    """
    if path is not None and path.is_file():
        return path
    if scheme_of(source) in ("rtsp", "rtsps", "http", "https"):
        _log.info("%s: pictures alone are recorded of a stream, not its sound.", redact(source))
    return None


class Sound:
    """The sound of a file from a moment on, as packets of a stream in another container.

    Args:
        path: the file.
        begin_s: the moment, in seconds from its first picture.
        target: PyAV's container of the video; gets the stream, unless it cannot hold the sound,
            which is logged.
    """

    def __init__(self, path: Path, begin_s: float, target: Any) -> None:
        self._target = target
        self._packets: Iterator[Any] = iter(())
        self._next: Any = None
        self._container: Any = open_container(str(path.resolve()), {"protocol_whitelist": "file"})
        if isinstance(self._container, int):  # gone meanwhile
            return
        audio, video = self._container.streams.audio, self._container.streams.video
        if not audio or not video:
            return
        if audio[0].codec_context.name not in target.supported_codecs:
            _log.warning(
                "%s: its sound (%s) cannot be copied into %s; --save to a file that ends in .mkv "
                "keeps it.",
                path,
                audio[0].codec_context.name,
                Path(target.name).suffix,
            )
            return
        first, base = video[0].start_time, video[0].time_base
        self._begin_s = begin_s + (float(first * base) if first is not None and base else 0.0)
        if begin_s > _EARLY_S:
            self._container.seek(int((self._begin_s - _EARLY_S) * _TICKS_PER_S))
        self._stream = target.add_stream_from_template(audio[0])
        self._packets = packets_of(self._container, audio[0])
        self._next = next(self._packets, None)

    def mux_until(self, time_s: float) -> None:
        """Write what is heard before a time, in seconds from the moment where it began."""
        while self._next is not None:
            packet, base = self._next, self._next.time_base
            if packet.pts is not None and packet.dts is not None and base:
                heard_s = float(packet.pts * base) - self._begin_s
                if heard_s >= time_s:
                    return
                if heard_s >= 0:
                    shift = math.floor(Fraction(self._begin_s) / base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = self._stream
                    self._target.mux(packet)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the file; what was not written is left out."""
        if not isinstance(self._container, int):
            self._container.close()
