from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from training.data.facts import Findings
from training.data.folders import PictureFolder
from training.data.pictures import Picture, Pictures, PicturesBuilder
from training.data.probe import Known
from training.data.sampling import BalancedDraw

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
    builder = PicturesBuilder()
    builder.add(b"/d/\xff.png", 1, "made")
    assert bytes(builder.done()[0].path) == b"/d/\xff.png"


def test_two_hundred_thousand_take_less_than_sixty_bytes_and_a_path_each() -> None:
    count = 200_000
    path = b"/somewhere/train/1_fake/generator-%d/%08d.png"
    tracemalloc.start()
    builder = PicturesBuilder()
    for index in range(count):
        builder.add(path % (index % 10, index), index % 2, f"generator-{index % 10}")
    pictures = builder.done()
    findings = Findings(count)
    findings.put(0, Known(64, 64, "PNG", phash=1))
    draw = BalancedDraw(pictures)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert draw.draw(1, np.random.default_rng(0)).label == 1
    assert len(findings.facts().hashes) == count
    length = len(path % (0, 0))
    assert kept / count < 60 + length
    # Growing and sorting needs more for a moment, but no objects for each picture.
    assert peak / count < 120 + length


def test_folder_counts_sources_by_label() -> None:
    pictures = Pictures.of(MADE)
    findings = Findings(len(pictures))
    folder = PictureFolder(pictures, (), findings.facts())  # type: ignore[arg-type]  # not asked
    assert folder.sources(0) == {"s0": 2, "s1": 1, "s2": 1}
