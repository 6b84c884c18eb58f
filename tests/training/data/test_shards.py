"""Shards: written from folders, checked, and streamed into a training."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from rich.console import Console

from edge.errors import SourceError, UsageError
from edge.sources.images import read_image
from patchwatch import main
from tests.edge.archive.test_archive import s3
from tests.training.commands.test_train import CONFIG
from tests.training.pictures import ON_CPU, write_split
from training.data.config import DataConfig
from training.data.dataset import open_training_data
from training.data.module import PictureData
from training.data.shards import INDEX, ShardSet, StreamedSamples, find_shards
from training.degrade import Policy

pytest.importorskip("webdataset", reason="needs webdataset: pip install 'patchwatch[shards]'")
QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    write_split(root / "train", per_source=5, seed=0)
    write_split(root / "val", per_source=1, seed=1)
    (root / "train" / "0_real" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    return root


@pytest.fixture
def shards(pictures: Path, tmp_path: Path) -> Path:
    assert main(["data", "shards", str(pictures), str(tmp_path / "shards"), "--mb", "1"]) == 0
    return tmp_path / "shards"


def test_a_set_comes_back_byte_for_byte_and_its_checksums_are_held(
    pictures: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ShardSet(str(shards))
    files = {p.read_bytes() for p in (pictures / "train").rglob("*.*") if p.name != "broken.jpg"}
    train = found.split("train")
    assert {data for shard in train for _, data in found.read(shard)} == files
    assert sum(shard.pictures for shard in train) == len(files)
    labels = {source.name: label for label in (0, 1) for source in sources(pictures, label)}
    assert {shard.source: shard.label for shard in train} == labels
    assert main(["data", "shards", str(pictures), str(shards)]) == 2
    assert "has shards already" in capsys.readouterr().err
    path = shards / train[0].file
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[600] ^= 1
    path.write_bytes(changed)
    with pytest.raises(SourceError, match="its sha256 is not that"):
        list(found.read(train[0]))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=train[0].file):
        list(found.read(train[0]))


def sources(root: Path, label: int) -> list[Path]:
    folder = root / "train" / ("0_real", "1_fake")[label]
    return [path for path in folder.iterdir() if path.is_dir()]


def test_a_training_streams_them_balanced_and_repeatable(pictures: Path, shards: Path) -> None:
    config, policy = DataConfig(crop=32), Policy(untouched=0, two=0, single={"jpeg": 1})
    batches = []
    for workers in (0, 0, 1):
        data = PictureData(
            config, policy, 3, batch=8, folder=shards, clean=True, out=QUIET, workers=workers
        )
        data.setup()
        batches.append(next(iter(data.train_dataloader())))
    first, again, helped = batches
    assert torch.equal(first["frames"], again["frames"])
    for batch in (first, helped):
        assert batch["frames"].shape == batch["clean"].shape == (8, 32, 32, 3)
        assert batch["label"].tolist() == [0, 1] * 4
    assert len(data.found.val.pictures) == 4
    names = {picture.source for picture in data.found.val.pictures}
    assert names == {path.name for label in (0, 1) for path in sources(pictures, label)}
    with pytest.raises(UsageError, match="Expected a folder"):
        data.samples()


def test_every_picture_is_drawn_and_every_source_as_often(pictures: Path, shards: Path) -> None:
    data = DataConfig(crop=32, resize=32, flip=False, first_compression=False)
    stream = StreamedSamples(ShardSet(str(shards)), "train", data, None, [0])
    samples = list(islice(stream, 400))
    seen = {sample["frames"].tobytes() for sample in samples}
    count = sum(shard.pictures for shard in ShardSet(str(shards)).split("train"))
    assert len(seen) == count
    for label in (0, 1):
        own = [sample["source"] for sample in samples if sample["label"] == label]
        assert len(own) == 200
        shares = [own.count(place) / 200 for place in set(own)]
        assert len(shares) == len(sources(pictures, label))
        assert all(abs(share - 1 / len(shares)) < 0.15 for share in shares)
    assert read_image(next((pictures / "train").rglob("*.png"))).ndim == 3


def test_a_store_holds_them_as_well(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with s3() as store:
        store.mkdir("sets")
        assert main(["data", "shards", str(pictures), "s3://sets/one"]) == 0
        # As --data gives it, with one slash less.
        found = find_shards(Path("s3://sets/one"), "auto")
        assert found is not None and found.shown == "s3://sets/one"
        data = PictureData(DataConfig(crop=32), batch=4, folder=Path("s3://sets/one"), out=QUIET)
        data.setup()
        assert next(iter(data.train_dataloader()))["label"].tolist() == [0, 1] * 2


def test_what_does_not_go_with_shards_is_said(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(UsageError, match="Expected a folder"):
        open_training_data(DataConfig(crop=32), shards, 1, QUIET)
    with pytest.raises(UsageError, match=r"data\.more"):
        open_training_data(DataConfig(crop=32, more=(tmp_path,)), shards, 1, QUIET, streams=True)
    with pytest.raises(SourceError, match="no split 'test'"):
        PictureData(DataConfig(crop=32, val="test"), folder=shards, out=QUIET).setup()
    (shards / INDEX).write_text("{}")
    with pytest.raises(SourceError, match="damaged"):
        PictureData(DataConfig(crop=32), folder=shards, out=QUIET).setup()
    with pytest.raises(SourceError, match="cannot be read"):
        find_shards(tmp_path, "shards")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_ends_with_the_name_of_a_damaged_shard(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    path = shards / next(s for s in ShardSet(str(shards)).split("train") if s.label == 0).file
    changed = bytearray(path.read_bytes())
    changed[600] ^= 1
    path.write_bytes(changed)
    config = tmp_path / "easy.yaml"
    config.write_text(CONFIG)
    words = ["train", str(config), "--data", str(shards), "--output", str(tmp_path / "run")]
    assert main([*words, *ON_CPU, "--workers", str(workers)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{path}: its sha256 is not that of {INDEX}" in error


def test_shards_are_not_written_among_their_pictures(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(pictures.rglob("*"))
    for place in (pictures, pictures / "train" / "new"):
        assert main(["data", "shards", str(pictures), str(place)]) == 2
        assert "Give a place outside of it" in capsys.readouterr().err
    assert sorted(pictures.rglob("*")) == before


def test_other_commands_say_that_shards_are_for_training(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ([], ["--layout", "shards"]):
        assert main(["data", "check", str(shards), *flags]) == 1
        assert "which only 'train' and 'distill' read" in capsys.readouterr().err


def test_the_command_trains_on_them(tmp_path: Path, shards: Path) -> None:
    config, run = tmp_path / "easy.yaml", tmp_path / "run"
    config.write_text(CONFIG)
    words = ["train", str(config), "--data", str(shards), "--output", str(run)]
    assert main([*words, *ON_CPU]) == 0
    card = json.loads((run / "easy.json").read_text())
    assert "20 pictures in 4 shards (camera-a, " in json.dumps(card)
