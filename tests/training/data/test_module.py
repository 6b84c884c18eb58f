from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from edge.errors import SourceError, UsageError
from edge.regions import resize_antialiased
from edge.sources.images import read_image
from tests.training.pictures import write_split
from training.data.config import DataConfig
from training.data.module import PictureData
from training.data.samples import BatchSampler
from training.degrade import Policy

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    write_split(root / "train", per_source=2, seed=0)
    write_split(root / "val", per_source=1, seed=1)
    return root


def test_a_batch_has_its_keys_types_and_both_labels(root: Path) -> None:
    policy = Policy(untouched=0, two=0, single={"jpeg": 1})
    data = PictureData(DataConfig(crop=32), policy, batch=8, folder=root, clean=True, out=QUIET)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["frames"].shape == batch["clean"].shape == (8, 32, 32, 3)
    assert batch["frames"].dtype == batch["clean"].dtype == torch.uint8
    assert batch["label"].dtype == torch.float32 and batch["label"].tolist() == [0, 1] * 4
    names = data.samples().sources
    made = [names[source].startswith("made") for source in batch["source"]]
    assert made == [bool(label) for label in batch["label"]]
    assert not torch.equal(batch["frames"], batch["clean"])
    assert len(data.found.val.pictures) == 4 and "4 photographs" in data.found.describe()


def test_workers_change_nothing_and_shares_make_up_the_batch(root: Path) -> None:
    config = DataConfig(crop=32)
    alone = PictureData(config, Policy(), seed=3, batch=8, folder=root, out=QUIET)
    helped = PictureData(config, Policy(), seed=3, batch=8, folder=root, workers=1, out=QUIET)
    for data in (alone, helped):
        data.setup()
    first, other = iter(alone.train_dataloader()), iter(helped.train_dataloader())
    for _ in range(2):
        assert torch.equal(next(first)["frames"], next(other)["frames"])
    whole = next(iter(BatchSampler(8, start=5)))
    shares = [next(iter(BatchSampler(8, 5, rank, world=2))) for rank in (0, 1)]
    assert shares[0] + shares[1] == whole == list(range(40, 48))


def test_a_reduced_sample_shows_the_picture_reduced_as_a_whole(tmp_path: Path) -> None:
    write_split(tmp_path / "train", per_source=1, seed=0)
    write_split(tmp_path / "val", per_source=1, seed=0)
    config = DataConfig(
        crop=32, reduced_share=1, reduced_rows=(32, 32), flip=False, first_compression=False
    )
    data = PictureData(config, folder=tmp_path, batch=2, out=QUIET)
    data.setup()
    pictures = [p.path for p in data.found.train.pictures] if data.found.train else []
    whole = [resize_antialiased(read_image(path), 32, 32) for path in pictures]
    sample = data.samples()[0]["frames"]
    assert any(np.array_equal(sample, image) for image in whole)


def test_what_is_missing_is_said(root: Path) -> None:
    with pytest.raises(UsageError, match="no pictures are named"):
        PictureData(DataConfig(), out=QUIET).setup()
    with pytest.raises(SourceError, match="has no split 'test'"):
        PictureData(DataConfig(crop=32, val="test"), folder=root, out=QUIET).setup()
