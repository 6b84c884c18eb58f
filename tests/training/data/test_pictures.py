from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from training.data.pictures import BalancedDraw, Picture, Pictures

MADE = [Picture(Path(f"/d/{'äx'[i % 2]}{i}.png"), i % 2, f"s{i % 3}") for i in range(7)]


def test_a_sequence_gives_back_what_was_put_in() -> None:
    pictures = Pictures.of(MADE)
    assert list(pictures) == MADE and pictures == MADE and len(pictures) == 7
    assert pictures[-1] == MADE[-1] and list(pictures[1:6:2]) == MADE[1:6:2]
    assert list(pictures.take(np.array([6, 0]))) == [MADE[6], MADE[0]]
    assert Pictures.of(pictures) is pictures and pictures != MADE[:-1]
    assert list(pickle.loads(pickle.dumps(pictures))) == MADE
    assert list(Pictures.of([])) == []
    with pytest.raises(IndexError):
        pictures[7]


def test_a_file_name_that_is_no_text_survives() -> None:
    pictures = Pictures.collected([(b"/d/\xff.png", 1, "made")])
    assert bytes(pictures[0].path) == b"/d/\xff.png"


def test_two_hundred_thousand_take_less_than_sixty_bytes_and_a_path_each() -> None:
    count = 200_000
    path = b"/somewhere/train/1_fake/generator-%d/%08d.png"
    tracemalloc.start()
    pictures = Pictures.collected(
        (path % (index % 10, index), index % 2, f"generator-{index % 10}") for index in range(count)
    )
    draw = BalancedDraw(pictures)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert draw.draw(1, np.random.default_rng(0)).label == 1
    length = len(path % (0, 0))
    assert kept / count < 60 + length
    # Growing and sorting needs more for a moment, but no objects for each picture.
    assert peak / count < 120 + length


def test_groups_are_those_of_label_and_source() -> None:
    groups = {key: places.tolist() for key, places in Pictures.of(MADE).groups().items()}
    assert groups == {
        (0, "s0"): [0, 6],
        (0, "s1"): [4],
        (0, "s2"): [2],
        (1, "s0"): [3],
        (1, "s1"): [1],
        (1, "s2"): [5],
    }


def _uneven() -> list[Picture]:
    sizes = {(0, "rare"): 1, (0, "common"): 9, (1, "made"): 4}
    return [
        Picture(Path(f"{source}{i}"), label, source)
        for (label, source), size in sizes.items()
        for i in range(size)
    ]


def test_sources_are_drawn_evenly_and_so_are_pictures_within() -> None:
    draw, rng = BalancedDraw(_uneven()), np.random.default_rng(0)
    drawn = [draw.draw(0, rng) for _ in range(2000)]
    assert {p.label for p in drawn} == {0}
    assert 900 < sum(p.source == "rare" for p in drawn) < 1100
    common = Counter(p.path.name for p in drawn if p.source == "common")
    assert len(common) == 9 and min(common.values()) > 60
    assert {draw.draw(1, rng).source for _ in range(20)} == {"made"}


def test_draws_do_not_depend_on_the_order_of_sources() -> None:
    pictures = _uneven()
    turned = [p for s in ("made", "rare", "common") for p in pictures if p.source == s]
    one, other = BalancedDraw(Pictures.of(pictures)), BalancedDraw(turned)
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    assert [one.draw(i % 2, a) for i in range(50)] == [other.draw(i % 2, b) for i in range(50)]
