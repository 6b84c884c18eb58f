"""Data sets as WebDataset shards, in folders and stores: written with checksums, and streamed.

    patchwatch data shards pictures/ shards/
    patchwatch data shards set/ s3://bucket/set --layout forensynth --mb 512
    patchwatch train configs/training/tiny.yaml --data s3://bucket/set --output run

shards.json lists the tar files of each split with label, source, pictures and sha256. A tar file
holds pictures of one source, as their files are, in random order; those that cannot be read are
left out, and said. A training streams its split, a few sources side by side, and keeps pictures in
data.cache_mb to draw from; its validation split is unpacked into the cache folder once. Other
commands than train and distill read folders alone.

Exit codes: 0 done, 1 no such data, or it cannot be written, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field, ValidationError
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from edge.errors import SinkError, SourceEnded, SourceError, UsageError, require
from edge.files import cache_folder, sha256_of, write_whole
from edge.labels import add_label_folders
from edge.schema import Strict
from edge.sources.address import redact, scheme_of
from edge.sources.images import read_image
from edge.stores import file_system
from edge.terminal import console, positive
from training.data.config import DataConfig
from training.data.crops import resized
from training.data.folders import Part, Picture
from training.data.layouts import AUTO, LAYOUTS
from training.data.samples import PictureSamples, Sample, first_readable, loader
from training.degrade import Policy
from training.progress import advancing, print_rejected

if TYPE_CHECKING:
    from training.data.dataset import DataSet

INDEX, LAYOUT = "shards.json", "shards"
INSTALL = "pip install 'patchwatch[shards]'"
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")
_KEPT_LEAST = 8
"""Pictures of a source that are kept to draw from, however large they are."""


class Shard(Strict):
    """One tar file; `file` is its place below the folder, `label` that of all its pictures."""

    file: str = Field(pattern=r"^[^/.][^\\]*\.tar$")
    label: Literal[0, 1]
    source: str
    pictures: int = Field(gt=0)
    bytes: int = Field(gt=0)
    sha256: str


class Index(Strict):
    """What shards.json says: the shards of each split."""

    schema_version: Literal[1] = 1
    splits: dict[str, tuple[Shard, ...]]


class ShardSet:
    """The shards in a folder or a store.

    Raises:
        SourceError: they cannot be read.
        MissingDependency: webdataset, or what the store needs, is absent.
    """

    def __init__(self, place: str) -> None:
        self.shown = redact(place)
        self._system, self._root = file_system(place)
        require("webdataset", "read shards", INSTALL)
        try:
            text = self._system.cat_file(f"{self._root}/{INDEX}")
            self.index = Index.model_validate_json(text)
        except ValidationError as error:
            raise SourceError(
                f"{self.shown}: {INDEX} is damaged. Write the shards again."
            ) from error
        except Exception as error:  # each store raises its own
            raise SourceError(
                f"{self.shown}: {INDEX} cannot be read ({redact(str(error))}). Write shards: "
                "patchwatch data shards."
            ) from error
        self.digest = hashlib.sha256(text).hexdigest()

    def split(self, name: str) -> tuple[Shard, ...]:
        """The shards of a split; SourceError where it is none, or lacks a label."""
        found = self.index.splits.get(name, ())
        if {shard.label for shard in found} != {0, 1}:
            has = ", ".join(self.index.splits)
            raise SourceError(f"{self.shown} has no split {name!r} with both labels. It has {has}.")
        return found

    def read(self, shard: Shard) -> Iterator[tuple[str, bytes]]:
        """The name and the bytes of each picture, in the file's order.

        Raises:
            SourceError: the file cannot be read; or at its end, its sha256 is another.
        """
        from webdataset.tariterators import group_by_keys, tar_file_expander

        where = f"{self.shown}/{shard.file}"
        try:
            with self._system.open(f"{self._root}/{shard.file}", "rb") as file:
                hashed = _Hashed(file)
                opened = [{"url": where, "stream": hashed}]
                for sample in group_by_keys(tar_file_expander(opened)):
                    key = sample["__key__"]
                    for kind, data in sample.items():
                        if not kind.startswith("__"):
                            yield f"{key}.{kind}", data
                while hashed.read(1 << 20):
                    pass
        except Exception as error:  # each store raises its own, and tarfile too
            raise SourceError(f"{where}: cannot be read ({redact(str(error))}).") from error
        if hashed.digest.hexdigest() != shard.sha256:
            raise SourceError(f"{where}: its sha256 is not that of {INDEX}. Copy it again.")

    def unpack(self, name: str) -> list[Part]:
        """The pictures of a split in the cache folder, where they are fetched once."""
        shards = self.split(name)
        folder = cache_folder() / "shards" / self.digest[:16] / name
        sources = sorted({(shard.label, shard.source) for shard in shards})
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            for shard in shards:
                place = part / str(sources.index((shard.label, shard.source)))
                place.mkdir(parents=True, exist_ok=True)
                for picture, data in self.read(shard):
                    (place / Path(picture).name).write_bytes(data)
            part.rename(folder)
        return [Part(folder / str(n), label, source) for n, (label, source) in enumerate(sources)]

    def describe(self, name: str) -> str:
        """How much a split is, in one line."""
        shards = self.split(name)
        sources = ", ".join(sorted({shard.source for shard in shards}))
        pictures = sum(shard.pictures for shard in shards)
        return f"{pictures} pictures in {len(shards)} shards ({sources})"


class _Hashed:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data

    def close(self) -> None:
        """The file is closed by whoever opened it, after the last byte was hashed."""


def find_shards(path: Path, layout: str) -> ShardSet | None:
    """The shards that a folder or an address stands for; None where it is a folder without."""
    # A Path makes one slash of an address's two.
    if (address := _ADDRESS.fullmatch(str(path))) is not None:
        return ShardSet(f"{address[1]}://{address[2]}")
    if layout == LAYOUT or (layout == AUTO and (path / INDEX).is_file()):
        return ShardSet(str(path))
    return None


class StreamedSamples(IterableDataset[Sample]):
    """An endless stream of samples, as those of `PictureSamples`.

    Labels take turns; of a label a source is drawn evenly, then one of its pictures that were read
    and are kept. Each process reads all shards in an order of its own.

    Args:
        shards: the set.
        split: to learn from.
        data: how samples are cut; `cache_mb` is for each process.
        policy: of the degradations; None for none.
        seed: of everything that is drawn, numbers that differ between processes.
        clean: give the crop from before its degradations too.
    """

    def __init__(
        self,
        shards: ShardSet,
        split: str,
        data: DataConfig,
        policy: Policy | None,
        seed: Sequence[int],
        clean: bool = False,
    ) -> None:
        self._shards, self._data, self._seed = shards, data, tuple(seed)
        self._cutter = PictureSamples((), data, policy, 0, clean)
        groups: dict[tuple[int, str], list[Shard]] = {}
        for shard in shards.split(split):
            groups.setdefault((shard.label, shard.source), []).append(shard)
        self._groups = dict(sorted(groups.items()))
        self.sources = tuple(sorted({source for _, source in groups}))

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        rng = np.random.default_rng((*self._seed, 0 if worker is None else worker.id))
        most = (self._data.cache_mb << 20) // len(self._groups)
        streams: tuple[list[tuple[str, Iterator[tuple[str, bytes]]]], ...] = ([], [])
        for (label, source), shards in self._groups.items():
            streams[label].append((source, self._shuffled(shards, rng, most)))
        for label in cycle((0, 1)):
            yield first_readable(partial(self._draw, streams[label], label, rng))

    def _draw(
        self,
        streams: Sequence[tuple[str, Iterator[tuple[str, bytes]]]],
        label: int,
        rng: Generator,
        lost: int,
    ) -> Sample:
        source, stream = streams[int(rng.integers(len(streams)))]
        try:
            name, data = next(stream)
        except SourceError as error:  # a shard is damaged, and the stream is over
            raise SourceEnded(str(error)) from error
        with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
            file.write(data)
            file.flush()
            try:
                picture = resized(read_image(file.name), self._data.resize)
            except SourceError as error:
                raise SourceError(str(error).replace(file.name, f"{source}: {name}")) from error
        least = self._data.crop if self._data.resize is None else 1
        if min(picture.shape[:2]) < least:
            height, width = picture.shape[:2]
            raise SourceError(f"{source}: {name}: {width}×{height} pixels, smaller than {least}.")
        place = self.sources.index(source)
        return self._cutter.cut(picture, Path(name).suffix, label, place, rng)

    def _shuffled(
        self, shards: Sequence[Shard], rng: Generator, most: int
    ) -> Iterator[tuple[str, bytes]]:
        """Pictures of a source without end; of those read, some are kept to draw from."""
        kept: list[tuple[str, bytes]] = []
        size = 0
        while True:
            for number in rng.permutation(len(shards)):
                for name, data in self._shards.read(shards[number]):
                    kept.append((name, data))
                    size += len(data)
                    # Every other one is kept until there are enough, so that the first come soon.
                    full = size > most and len(kept) > _KEPT_LEAST
                    if full or rng.random() < 0.5:
                        drawn = kept.pop(int(rng.integers(len(kept))))
                        size -= len(drawn[1])
                        yield drawn

    def loader(self, batch: int, workers: int) -> DataLoader[dict[str, Tensor]]:
        """Batches without end, of samples in this process."""
        return loader(self, workers, batch_size=batch)


def write_shards(
    dataset: DataSet, place: str, most_bytes: int, on_file: Callable[[], object] = lambda: None
) -> Index:
    """Write a data set as shards, and the index last.

    Args:
        dataset: opened, so that its pictures can be read.
        place: a folder or an fsspec address, without shards.
        most_bytes: of a shard, about.
        on_file: called after each picture.

    Raises:
        UsageError: there are shards already.
        SinkError: they cannot be written.
    """
    system, root = file_system(place)
    if system.exists(f"{root}/{INDEX}"):
        raise UsageError(f"{redact(place)} has shards already. Give another place.")
    splits: dict[str, tuple[Shard, ...]] = {}
    for split, folder in dataset.splits.items():
        groups: dict[tuple[int, str], list[Picture]] = {}
        for picture in folder.pictures:
            groups.setdefault((picture.label, picture.source), []).append(picture)
        made: list[Shard] = []
        for number, ((label, source), pictures) in enumerate(sorted(groups.items())):
            order = np.random.default_rng(number).permutation(len(pictures))
            chosen, name = [pictures[at] for at in order], f"{split}/{number:04}"
            for one in _write_source(system, root, name, chosen, most_bytes, on_file):
                made.append(Shard.model_validate({**one, "label": label, "source": source}))
        splits[split] = tuple(made)
    index = Index(splits=splits)
    with tempfile.NamedTemporaryFile() as copy:
        write_whole(Path(copy.name), index.model_dump_json(indent=1) + "\n")
        _put(system, f"{root}/{INDEX}", Path(copy.name))
    return index


def _write_source(
    system: Any,
    root: str,
    name: str,
    pictures: Sequence[Picture],
    most_bytes: int,
    on_file: Callable[[], object],
) -> list[dict[str, Any]]:
    """Write the shards of one source; gives what the index says of each."""
    from webdataset import ShardWriter

    made: list[dict[str, Any]] = []

    def put(written: str) -> None:
        path = Path(written)
        file = f"{name}-{path.stem}.tar"
        about = {"file": file, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        made.append({**about, "pictures": writer.count})
        _put(system, f"{root}/{file}", path)
        path.unlink()

    with tempfile.TemporaryDirectory() as local:
        options: dict[str, Any] = {"verbose": 0, "encoder": False, "mtime": 0}
        writer = ShardWriter(f"{local}/%06d.tar", maxsize=most_bytes, post=put, **options)
        for number, picture in enumerate(pictures):
            kind = picture.path.suffix.lower().lstrip(".")
            writer.write({"__key__": f"{number:09}", kind: picture.path.read_bytes()})
            on_file()
        writer.close()
    return made


def _put(system: Any, target: str, path: Path) -> None:
    try:
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(path), target)
    except Exception as error:  # each store raises its own
        raise SinkError(f"{redact(target)} cannot be written ({redact(str(error))}).") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch data shards`."""
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of a data set")
    parser.add_argument("output", metavar="OUT", help="folder, or address of a store")
    parser.add_argument("--layout", choices=(AUTO, *LAYOUTS), default=AUTO, help="of DATA")
    add_label_folders(parser)
    parser.add_argument(
        "--mb", type=positive, default=256, metavar="N", help="size of a shard (default: 256)"
    )


def run(args: argparse.Namespace) -> int:
    """Convert; see the module's text for the exit codes."""
    from training.data.dataset import open_dataset

    within = Path(args.output).resolve().is_relative_to(args.data.resolve())
    if args.output and scheme_of(args.output) is None and within:
        raise UsageError(
            f"{args.output} lies in {args.data}, whose pictures it is made of. Give "
            "a place outside of it."
        )
    require("webdataset", "write shards", INSTALL)  # before hours of reading
    out = console()
    dataset = open_dataset(args.data, args.layout, labels=args.label_folders)
    for folder in dataset.splits.values():
        print_rejected(out, [one.reason for one in folder.rejected])
    total = sum(len(folder.pictures) for folder in dataset.splits.values())
    with advancing("writing shards", total, out) as advance:
        index = write_shards(dataset, args.output, args.mb << 20, advance)
    for split, shards in index.splits.items():
        pictures, size = sum(s.pictures for s in shards), sum(s.bytes for s in shards)
        out.print(f"{split}: {pictures} pictures in {len(shards)} shards, {size / 1e6:.1f} MB")
    return 0
