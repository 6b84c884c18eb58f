"""A prepared set is read as it was written, and what is wrong with one is a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge.errors import SourceError
from tests.training.faces.face_sets import write_faces
from training.faces.sets import FACES, MANIFEST, load_set, shown_from, write_set


def test_items_come_with_labels_videos_and_sources(tmp_path: Path) -> None:
    write_faces(tmp_path / "base", "faceforensics", videos=2, faces=3)
    found = load_set(tmp_path / "base")
    items = found.items("val")
    assert [item.label for item in items] == [0] * 6 + [1] * 6
    assert len({item.video for item in items}) == 4
    assert {item.source for item in items} == {"faceforensics"}
    assert {item.manipulation for item in items} == {None, "Deepfakes"}
    assert all(item.path.is_file() for item in items)
    assert [item.path.name for item in items[:3]] == [f"{n:06d}_0.png" for n in range(3)]
    assert not {i.path for i in items} & {i.path for i in found.items("train")}


def test_a_set_is_the_same_after_writing(tmp_path: Path) -> None:
    made = write_faces(tmp_path / "base", "youtube", faces=1)
    assert load_set(tmp_path / "base").manifest == made.manifest
    write_set(tmp_path / "copy", made.manifest)
    written = [(tmp_path / name / MANIFEST).read_bytes() for name in ("base", "copy")]
    assert written[0] == written[1]


def test_a_set_may_move_with_its_crops(tmp_path: Path) -> None:
    made = write_faces(tmp_path / "one" / "cache", "youtube", faces=1)
    place = shown_from(tmp_path / "one" / "set", tmp_path / "one" / "cache")
    store = made.manifest.stores[0].model_copy(update={"folder": place})
    write_set(tmp_path / "one" / "set", made.manifest.model_copy(update={"stores": (store,)}))
    shutil.move(tmp_path / "one", tmp_path / "two")
    items = load_set(tmp_path / "two" / "set").items("train")
    assert items and all(item.path.is_file() for item in items)


def test_a_folder_far_away_is_named_in_full(tmp_path: Path) -> None:
    assert shown_from(tmp_path / "a" / "set", tmp_path / "b") == str(tmp_path / "b")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema": 2}, "schema: expected 1, found 2"),
        ({"videos": [{}]}, r"videos\.0\.path is missing"),
        ({"more": 1}, "more is not known here"),
    ],
)
def test_another_manifest_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write_faces(tmp_path, "youtube", faces=1)
    manifest = json.loads((tmp_path / MANIFEST).read_bytes())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, **change}))
    with pytest.raises(SourceError, match=message):
        load_set(tmp_path)


def test_no_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected a prepared set, found no manifest\.json"):
        load_set(tmp_path)


def test_crops_that_are_gone_or_fewer_are_told(tmp_path: Path) -> None:
    made = write_faces(tmp_path, "youtube", faces=3)
    video = made.videos("train")[0]
    listed = made.store_of(video) / FACES
    crops = json.loads(listed.read_bytes())["crops"]
    listed.write_text(json.dumps({"crops": crops[:2]}))
    with pytest.raises(SourceError, match="was counted with 3 crops, found 2"):
        load_set(tmp_path).items("train")
    shutil.rmtree(made.store_of(video))
    with pytest.raises(SourceError, match=r"expected the crops of .* found none"):
        load_set(tmp_path).items("train")
