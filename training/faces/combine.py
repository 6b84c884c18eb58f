"""Two prepared sets as one; their crops stay where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.faces.clips import without_copies
from training.faces.sets import FaceSet, SetManifest, Store, Video, shown_from

_UNKNOWN = (
    "Whether a person of one set is also in another cannot be known: only equal files were "
    "looked for."
)


def combined(sets: Sequence[FaceSet], folder: Path) -> SetManifest:
    """The manifest of several sets as one.

    Args:
        sets: prepared; left as they are.
        folder: that the manifest is for.
    """
    videos, copies = without_copies(_renumbered(sets))
    stores = tuple(store for one in sets for store in _moved(one, folder))
    notes = [note for one in sets for note in one.manifest.notes]
    return SetManifest(
        schema=1,
        origins=tuple(origin for one in sets for origin in one.manifest.origins),
        stores=stores,
        notes=tuple(dict.fromkeys([*notes, _UNKNOWN, *_unlike(stores), *copies])),
        videos=tuple(videos),
    )


def _renumbered(sets: Sequence[FaceSet]) -> Iterator[Video]:
    origins = stores = 0
    for one in sets:
        for video in one.manifest.videos:
            places = {"origin": video.origin + origins, "store": video.store + stores}
            yield video.model_copy(update=places)
        origins += len(one.manifest.origins)
        stores += len(one.manifest.stores)


def _moved(one: FaceSet, folder: Path) -> Iterator[Store]:
    for store in one.manifest.stores:
        place = Path(os.path.normpath(one.folder.resolve() / store.folder))
        yield store.model_copy(update={"folder": shown_from(folder, place)})


def _unlike(stores: Sequence[Store]) -> list[str]:
    """A warning where faces were not cut alike, as a model may learn that instead."""
    recipes = {store.model_dump_json(exclude={"folder"}) for store in stores}
    if len(recipes) == 1:
        return []
    return [
        "The sets' faces were not cut alike (detector, size, rate or format differ): a model may "
        "learn the set from that. Prepare them in the same way."
    ]
