from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import SourceError, UsageError
from tests.training.data.layout_trees import PAIR, TREES, plant
from training.data.folders import Part
from training.data.layouts import LAYOUTS, find_root, plan_splits

SPLITS = {
    "plain": {"all"},
    "splits": {"train", "val", "test"},
    "wildrf": {"train", "val", "test/facebook", "test/reddit"},
    "forensynth": {"train", "val", "test/progan", "test/biggan"},
    "ufd": {"test/guided", "test/ldm_200", "test/dalle"},
}


def _folders(parts: object, root: Path) -> list[tuple[str, int, str | None]]:
    assert isinstance(parts, list)
    return [(str(p.folder.relative_to(root)), p.label, p.source) for p in parts]


@pytest.mark.parametrize("name", TREES)
def test_a_layout_is_found_out_from_its_folders(tmp_path: Path, name: str) -> None:
    plant(tmp_path, TREES[name], each=0)
    assert {*TREES, "faces", "shards"} == set(LAYOUTS)
    found, plan = plan_splits(tmp_path, "auto")
    assert found == name and set(plan) == SPLITS[name]
    assert {part.label for parts in plan.values() for part in parts} == {0, 1}


@pytest.mark.parametrize(
    "manifest", ["[{}]", '{"name": "mine"}', '{"schema": "http://x"}', "no JSON"]
)
def test_the_manifest_of_another_program_makes_no_set_of_faces(
    tmp_path: Path, manifest: str
) -> None:
    plant(tmp_path, TREES["splits"], each=0)
    (tmp_path / "manifest.json").write_text(manifest)
    assert plan_splits(tmp_path, "auto")[0] == "splits"
    for damaged in ('{"schema": 0, "origins": []}', '{"schema": 1, "origins": ['):
        (tmp_path / "manifest.json").write_text(damaged)
        with pytest.raises(SourceError, match="Prepare the set again"):
            plan_splits(tmp_path, "auto")


def test_labels_never_come_from_other_parts_of_a_path(tmp_path: Path) -> None:
    root = plant(tmp_path / "fake" / "1_fake", ["0_real/fake", "1_fake/real"], each=0)
    _, plan = plan_splits(root, "auto")
    assert plan["all"] == [Part(root / "0_real", 0), Part(root / "1_fake", 1)]


def test_forensynth_selects_classes_to_learn_from_alone(tmp_path: Path) -> None:
    plant(tmp_path, TREES["forensynth"], each=0)
    _, plan = plan_splits(tmp_path, "auto", ["cat", "horse"])
    assert _folders(plan["train"], tmp_path) == [
        ("train/progan/cat/0_real", 0, "cat"),
        ("train/progan/cat/1_fake", 1, "progan/cat"),
        ("train/progan/horse/0_real", 0, "horse"),
        ("train/progan/horse/1_fake", 1, "progan/horse"),
    ]
    assert plan["val"] == plan["test/progan"] and len(plan["val"]) == 4
    with pytest.raises(UsageError, match=r"no class 'hors'.*'horse'.*car, cat, horse"):
        plan_splits(tmp_path, "auto", ["hors"])


@pytest.mark.parametrize("between", ["progan/", ""])
def test_forensynth_takes_its_own_validation_where_present(tmp_path: Path, between: str) -> None:
    plant(tmp_path, [f"{s}/{between}car/{x}" for s in ("train", "val") for x in PAIR], each=0)
    plant(tmp_path, [f"test/progan/car/{x}" for x in PAIR], each=0)
    name, plan = plan_splits(tmp_path, "auto")
    assert name == "forensynth" and set(plan) == {"train", "val", "test/progan"}
    assert _folders(plan["val"], tmp_path)[0] == (f"val/{between}car/0_real", 0, "progan")


def test_ufd_pairs_each_generator_with_its_photographs(tmp_path: Path) -> None:
    plant(tmp_path, TREES["ufd"], each=0)
    plant(tmp_path, ["own/0_real", "own/1_fake"], each=0)
    _, plan = plan_splits(tmp_path, "auto")
    reals = {split: str(parts[0].folder.relative_to(tmp_path)) for split, parts in plan.items()}
    assert reals == {
        "test/guided": "imagenet/0_real",
        "test/ldm_200": "laion/0_real",
        "test/dalle": "laion/0_real",
        "test/own": "own/0_real",
    }
    plant(tmp_path, ["stranger/1_fake"], each=0)
    with pytest.raises(SourceError, match="stranger/0_real is missing"):
        plan_splits(tmp_path, "auto")


def test_an_unknown_layout_lists_the_known_ones_and_what_is_there(tmp_path: Path) -> None:
    plant(tmp_path, ["photos", "pictures"], each=0)
    with pytest.raises(SourceError) as error:
        plan_splits(tmp_path, "auto")
    assert all(f"{name} " in str(error.value) for name in LAYOUTS)
    assert "found photos, pictures." in str(error.value)
    with pytest.raises(SourceError, match="is not laid out as wildrf"):
        plan_splits(tmp_path, "wildrf")
    with pytest.raises(UsageError, match="no layout 'wild'"):
        plan_splits(tmp_path, "wild")
    with pytest.raises(SourceError, match="is no folder"):
        plan_splits(tmp_path / "absent", "auto")


def test_a_missing_class_and_classes_without_use_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, ["train/0_real", "train/1_fake", "val/0_real"], each=0)
    with pytest.raises(SourceError, match=r"val/1_fake is missing"):
        plan_splits(tmp_path, "auto")
    with pytest.raises(UsageError, match=r"splits .* has no classes"):
        plan_splits(tmp_path, "auto", ["car"])


def test_a_data_set_is_found_in_folders_that_hold_nothing_else(tmp_path: Path) -> None:
    plant(tmp_path / "got" / "part" / "Set", TREES["splits"])
    (tmp_path / "got" / "part" / "__MACOSX").mkdir()
    (tmp_path / "got" / "record.json").touch()
    assert find_root(tmp_path / "got") == tmp_path / "got" / "part" / "Set"
    (tmp_path / "got" / "other").mkdir()
    assert find_root(tmp_path / "got") is None and find_root(tmp_path / "absent") is None
