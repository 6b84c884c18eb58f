"""Who is on which side: nobody on two, always the same, and as the published lists say."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ConfigError
from training.faces.sets import SPLITS, Split
from training.faces.split import ORIGINAL_VAL, deal_out, person, read_official, shared_people

PEOPLE = [person("youtube", f"{n:03d}") for n in range(30)]
HELD = ["050", "051", "056", "057", "066", "067", "074", "075"]
"""The first of 1000 films in val."""

CASTS = st.lists(
    st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=2, unique=True), max_size=40
)


@given(CASTS, st.dictionaries(st.sampled_from(PEOPLE), st.sampled_from(SPLITS), max_size=5))
def test_nobody_is_on_two_sides(casts: list[list[str]], fixed: dict[str, Split]) -> None:
    sides = deal_out(casts, fixed)
    placed = [(cast, sides.split(cast)) for cast in casts]
    kept = [(cast, split) for cast, split in placed if split is not None]
    assert not shared_people(kept)
    assert all(sides.of[name] == fixed[name] for name in fixed if name in sides.of)
    if not sides.cut:
        assert len(kept) == len(casts)


@given(CASTS, st.integers(0, 100))
def test_the_order_of_videos_changes_nothing(casts: list[list[str]], seed: int) -> None:
    mixed = [cast[::-1] for cast in casts]
    random.Random(seed).shuffle(mixed)
    assert deal_out(casts, {}).of == deal_out(mixed, {}).of


def test_groups_of_faceforensics_fill_every_side() -> None:
    casts = [
        [person("youtube", f"{2 * n:03d}"), person("youtube", f"{2 * n + 1:03d}")]
        for n in range(500)
    ]
    sides = deal_out(casts, {})
    counts = Counter(sides.of.values())
    assert counts == {"train": 720, "val": 140, "test": 140}
    # Fixed for good: who is on which side must not change with a version of the program.
    held = [name[-3:] for name in sorted(sides.of) if sides.of[name] == "val"]
    assert held[:8] == HELD
    assert not sides.cut


@pytest.mark.parametrize("groups, expected", [(1, ["train"]), (2, ["train", "val"])])
def test_few_groups_fill_train_first(groups: int, expected: list[str]) -> None:
    sides = deal_out([[person("youtube", str(n))] for n in range(groups)], {})
    assert sorted(sides.of.values()) == expected


def test_a_group_of_nearly_all_is_cut_and_nobody_lost() -> None:
    actors = [person("actor", f"{n:02d}") for n in range(1, 29)]
    casts = [[a, b] for a, b in zip(actors, actors[1:] + actors[:1], strict=True)]
    casts += [[actor] for actor in actors]
    sides = deal_out(casts, dict.fromkeys(ORIGINAL_VAL, "val"))
    assert sides.cut == (28,) and set(sides.of) == set(actors)
    assert set(sides.of.values()) == {*SPLITS}
    assert {n for n in actors if sides.of[n] == "val"} == ORIGINAL_VAL & set(actors)
    across = [cast for cast in casts if sides.split(cast) is None]
    assert across and all(sides.of[a] != sides.of[b] for a, b in across)


def test_whoever_meets_the_first_models_validation_people_joins_them() -> None:
    casts = [["youtube-339", "youtube-392"], ["youtube-000", "youtube-003"], ["youtube-845"]]
    of = deal_out(casts, dict.fromkeys(ORIGINAL_VAL, "val")).of
    assert of["youtube-392"] == "val" and of["youtube-845"] == "val"
    assert of["youtube-000"] == of["youtube-003"] != "val"


def test_the_first_models_validation_people() -> None:
    films = {name for name in ORIGINAL_VAL if name.startswith("youtube")}
    assert len(films) == 3 + 10 + 100 - 1  # 878 is an 8xx
    assert ORIGINAL_VAL - films == {f"actor-0{n}" for n in (1, 3, 4, 6, 7, 9)}


def write_lists(folder: Path, **lists: object) -> Path:
    for name, pairs in {"train": [], "val": [], "test": [], **lists}.items():
        (folder / f"{name}.json").write_text(json.dumps(pairs))
    return folder


def test_published_lists_are_followed(tmp_path: Path) -> None:
    lists = write_lists(
        tmp_path, train=[["000", "003"]], val=[["720", "672"]], test=[["953", "974"]]
    )
    assert read_official(lists) == {
        "youtube-000": "train",
        "youtube-003": "train",
        "youtube-720": "val",
        "youtube-672": "val",
        "youtube-953": "test",
        "youtube-974": "test",
    }


@pytest.mark.parametrize(
    "lists, message",
    [
        ({"val": [["000"]]}, "with pairs of numbers"),
        ({"val": {"000": "003"}}, "with pairs of numbers"),
        ({"val": [[0, 3]]}, "with pairs of numbers"),
        ({"val": 5}, "with pairs of numbers"),
        ({"train": [["000", "003"]], "val": [["003", "004"]]}, "is in train.json and in val.json"),
    ],
)
def test_lists_of_another_form_are_refused(
    tmp_path: Path, lists: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_official(write_lists(tmp_path, **lists))


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    (write_lists(tmp_path) / "test.json").unlink()
    with pytest.raises(ConfigError, match=r"test\.json .*No such file"):
        read_official(tmp_path)
