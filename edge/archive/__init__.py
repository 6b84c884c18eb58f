"""Archives: more files than one process scores in a night, into tables that can be gone on with.

One process lists what there is, hands it out and writes what comes back; so each file is in the
output once, whatever becomes of the workers.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from edge.archive.engines import Processes, Ray, run_each
from edge.archive.items import Item, Scored, Scorer, Splitter, find_items
from edge.archive.output import Output
from edge.config import RunConfig
from edge.files import sha256_of
from edge.scoring import FileScore, Part, join_parts
from edge.terminal import console, progress_bar
from edge.weights import find_model

PART_S = 300.0
"""Videos are split into parts of this many seconds."""

_BATCH = 64
_SAY_S = 30.0


def score_archive(
    paths: Iterable[str],
    config: RunConfig,
    output: Output,
    engine: Processes | Ray,
    part_s: float = PART_S,
    left_out: Callable[[str], object] = lambda path: None,
    hidden: bool = False,
) -> Counter[str]:
    """Score what is not in the output yet, and what failed there.

    Args:
        paths: files, folders, patterns and fsspec addresses.
        config: models and settings.
        output: the tables.
        engine: what runs the workers.
        part_s: length of the parts that videos are split into, in seconds.
        left_out: called with the path of what is hidden in a folder.
        hidden: show no progress.

    Returns:
        How many files ended in each verdict, as `failed`, and as `skipped`: scored before. Apart
        from these, how many are tried `again`: they failed before.

    Raises:
        UsageError: the output is of another run.
        SinkError: it cannot be read or written.
        SourceError: a store cannot be listed.
    """
    output.claim(_describe(config))
    done, counts = output.done(), Counter[str]()
    items = []
    for item in find_items(paths, left_out):
        counts["skipped"] += item.source in done
        if item.source not in done:
            items.append(item)
    del done
    again = sum(item.source in output.failed for item in items)
    with progress_bar(hidden=hidden) as progress, output:
        task = progress.add_task("scoring", total=len(items))
        began = said = time.monotonic()
        for row in _rows(items, config, engine, part_s):
            output.add(row)
            counts["failed" if row["error"] else row["verdict"]] += 1
            progress.advance(task)
            now = time.monotonic()
            if progress.disable and not hidden and now - said > _SAY_S:
                said, count = now, counts.total() - counts["skipped"]
                rate = f"{count / (now - began):.1f} files/s"
                console().print(f"{count} of {len(items)} files, {rate}", markup=False)
    counts["again"] = again
    return counts


def _describe(config: RunConfig) -> dict[str, Any]:
    """What scores depend on."""
    settings = config.model_dump(
        mode="json",
        exclude_unset=True,
        exclude={"backend": True, "model": True, "faces": {"model"}},
    )
    settings["precision"] = config.backend.precision
    models = {"model": config.model}
    if config.faces.enabled and config.faces.model:
        models["faces"] = config.faces.model
    hashes = {key: sha256_of(find_model(name)) for key, name in models.items()}
    # As it will be read again.
    described: dict[str, Any] = json.loads(json.dumps({"schema": 2, "models": hashes, **settings}))
    return described


def _rows(
    items: Sequence[Item], config: RunConfig, engine: Processes | Ray, part_s: float
) -> Iterator[dict[str, Any]]:
    videos = [item for item in items if item.is_video]
    pictures = [item for item in items if not item.is_video]
    parts: list[Item] = []
    for item, found in run_each(engine, partial(Splitter, config, part_s), _batched(videos, 1)):
        parts += found or [item]
    size = min(_BATCH, max(1, len(pictures) // (4 * engine.count)))
    waiting: dict[str, dict[int, Scored]] = {}
    work = [*_batched(parts, 1), *_batched(pictures, size)]
    for item, scored in run_each(engine, partial(Scorer, config), work):
        seen = waiting.setdefault(item.source, {})
        died = f"{item.source}: workers died of it: out of memory, or a decoder that crashed."
        seen[item.part] = scored or Scored(item, FileScore(item.source, error=died))
        if len(seen) == item.parts:
            yield _row([each for _, each in sorted(waiting.pop(item.source).items())], config)


def _batched(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _row(parts: Sequence[Scored], config: RunConfig) -> dict[str, Any]:
    first = parts[0]
    failed = next((part for part in parts if isinstance(part.found, FileScore)), None)
    if failed is not None:
        line = failed.found
    else:
        shown = [part.found for part in parts if isinstance(part.found, Part)]
        item = first.item
        line = join_parts(item.source, shown, config.verdict, item.length, item.fps)
    assert isinstance(line, FileScore)
    said = first.provenance
    return {
        **{name: getattr(line, name) for name in FileScore.__dataclass_fields__},
        "stretches": None if line.stretches is None else [s._asdict() for s in line.stretches],
        "worst": None if line.worst is None else line.worst._asdict(),
        "sha256": first.sha256,
        "bytes": first.size,
        "provenance": None if said is None else json.dumps(said, ensure_ascii=False),
    }
