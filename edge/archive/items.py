"""What an archive holds, on disks and in stores, and what workers do with it."""

from __future__ import annotations

import glob
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from edge.config import RunConfig
from edge.errors import PatchwatchError, SourceError, UsageError
from edge.files import sha256_of
from edge.opening import open_detector
from edge.record import claim_records
from edge.scoring import FileScore, Part, find_files, is_scored, score_file, score_part
from edge.sources import source_name
from edge.sources.address import redact, scheme_of
from edge.sources.images import VIDEO_SUFFIXES
from edge.sources.video import announced_length
from edge.stores import file_system

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Item:
    """A file, or a part of a video.

    Attributes:
        source: its absolute path or its address, without credentials and in plain Unicode.
        address: its path or its address.
        part: of a video, from 0.
        parts: how many its video has.
        begin_s: where the part begins, in seconds.
        end_s: before which it ends.
        length: frames to be scored of the whole video, where it has parts.
        fps: of these frames.
    """

    source: str
    address: str
    part: int = 0
    parts: int = 1
    begin_s: float = 0.0
    end_s: float = math.inf
    length: int = 0
    fps: float = 0.0

    @property
    def is_video(self) -> bool:
        """By its name."""
        return PurePosixPath(urlsplit(self.address).path).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Scored:
    """What a worker made of an item: a line, or of a part of a video what it showed."""

    item: Item
    found: FileScore | Part
    sha256: str | None = None
    size: int | None = None
    provenance: list[dict[str, str]] | None = None


def find_items(
    paths: Iterable[str], left_out: Callable[[str], object] = lambda path: None
) -> Iterator[Item]:
    """What files, folders, patterns and addresses of stores stand for, each once.

    Raises:
        UsageError: fsspec knows no such store, or addresses differ only in what is not shown.
        MissingDependency: it needs a library for one that is absent.
        SourceError: a store cannot be listed.
    """
    known: dict[str, str] = {}
    for text in paths:
        scheme = scheme_of(text)
        listed: Iterable[Path | str] = [text]
        if scheme is None:
            listed = find_files([text], left_out)
        elif scheme not in ("http", "https"):
            listed = _stored(text)
        for address in map(str, listed):
            # Of a file its absolute path: the same name in another folder is another file.
            address = address if scheme else os.path.abspath(address)
            shown = source_name(address) if scheme else address
            # A name that is no Unicode, as a file may have, could not be written.
            shown = shown.encode("utf-8", "backslashreplace").decode()
            if shown not in known:
                known[shown] = address
                yield Item(shown, address)
            elif known[shown] != address:
                raise UsageError(
                    f"{shown} is given with different logins or tokens, which the tables do not "
                    "tell apart. Give it once; score what is another file into another --output."
                )


def _stored(url: str) -> list[str]:
    system, path = file_system(url)
    try:
        if glob.has_magic(path):
            found = system.glob(path)
        elif system.isdir(path):
            found = [name for name in system.find(path) if is_scored(name)]
        else:
            return [url]
    except Exception as error:  # each store raises its own
        raise SourceError(f"{redact(url)}: cannot be listed ({redact(str(error))}).") from error
    return sorted(str(system.unstrip_protocol(name)) for name in found)


@contextmanager
def _at_hand(item: Item) -> Iterator[tuple[Path, str | None, int | None]]:
    """A file on this machine's disk, its sha256 and its bytes; fetched where it is elsewhere."""
    if scheme_of(item.address) is None:
        path = Path(item.address)
        if not path.is_file():  # whoever opens it says what it is
            yield path, None, None
            return
        try:
            sha256 = None if item.part else sha256_of(path)  # of a video its first part says it
            bytes_ = path.stat().st_size
        except OSError as error:
            raise SourceError(f"{item.source}: cannot be read ({error.strerror}).") from error
        yield path, sha256, bytes_
        return
    digest, size = hashlib.sha256(), 0
    suffix = PurePosixPath(urlsplit(item.address).path).suffix
    with tempfile.NamedTemporaryFile(suffix=suffix) as copy:
        system, stored = file_system(item.address)
        try:
            with system.open(stored, "rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += copy.write(chunk)
            copy.flush()
        except Exception as error:  # each store raises its own
            why = error.__cause__ or error  # of http the error has the address alone
            raise SourceError(f"{item.source}: cannot be fetched ({redact(str(why))}).") from error
        yield Path(copy.name), digest.hexdigest(), size


class Scorer:
    """Scores items with a model that stays open as long as the worker lives."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._open = ExitStack()
        self._detector = self._open.enter_context(open_detector(self._config))
        self._declared = self._config.provenance.reader() or (lambda name: None)

    def __call__(self, items: Sequence[Item]) -> list[Scored]:
        """A result for each; failures are in it and never raised."""
        return [self._score(item) for item in items]

    def _score(self, item: Item) -> Scored:
        try:
            with _at_hand(item) as (path, sha256, size):
                if item.parts == 1:
                    line = score_file(self._detector, path, self._config, name=item.source)
                    said = claim_records(self._declared(str(path)))
                    return Scored(item, line, sha256, size, said)
                end = "" if math.isinf(item.end_s) else f"{item.end_s:.6f}"
                seconds = f"{item.begin_s:.6f}-{end}"
                capture = self._config.capture.model_copy(update={"seconds": seconds})
                config = self._config.model_copy(update={"capture": capture})
                part = score_part(self._detector, path, config, item.source)
                said = None if item.part else claim_records(self._declared(str(path)))
                return Scored(item, part, sha256, size, said)
        except PatchwatchError as error:
            return Scored(item, FileScore(item.source, error=str(error)))
        except Exception as error:  # one odd file ends no archive
            why = f"{type(error).__name__}: {redact(str(error))}"
            return Scored(item, FileScore(item.source, error=f"{item.source}: {why}"))


class Splitter:
    """Splits videos that are long by time."""

    def __init__(self, config: RunConfig, part_s: float) -> None:
        self._selection, self._part_s = config.capture.selection, part_s

    def __call__(self, items: Sequence[Item]) -> list[list[Item]]:
        """The parts of each; one that is short or cannot be opened is its own only part."""
        return [list(self._parts(item)) for item in items]

    def _parts(self, item: Item) -> Iterator[Item]:
        length, fps = 0, 0.0
        try:
            if scheme_of(item.address) is None:
                length, fps = announced_length(item.address, item.source)
            else:
                system, path = file_system(item.address)
                with closing(system.open(path, "rb")) as file:
                    length, fps = announced_length(file, item.source)
        except Exception:  # scoring will say what is wrong with it
            yield item
            return
        chosen = self._selection
        end_s = min(chosen.end_s, length / fps if fps else 0.0)
        count = int((end_s - chosen.begin_s) / self._part_s)
        if count < 2:
            yield item
            return
        wanted = replace(chosen, end_s=min(chosen.end_s, length / fps)).count(length, fps) or 0
        # Half a frame before a frame, so that rounding moves none to the other side.
        cuts = [chosen.begin_s + i * self._part_s - 0.5 / fps for i in range(1, count)]
        starts, ends = [chosen.begin_s, *cuts], [*cuts, chosen.end_s]
        for number, (begin_s, stop_s) in enumerate(zip(starts, ends, strict=True)):
            yield replace(
                item,
                part=number,
                parts=count,
                begin_s=begin_s,
                end_s=stop_s,
                length=wanted,
                fps=fps / chosen.every,
            )
