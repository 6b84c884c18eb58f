"""Checkpoints: written whole, read without running code, refused with a reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge.errors import ModelError, SinkError, UsageError
from edge.manifest import Calibration, Figure, Training
from training.checkpoint import (
    Card,
    card_path,
    load_checkpoint,
    load_published,
    save_checkpoint,
)
from training.models import PatchModel, build


def make_card(**changes: object) -> Card:
    fields: dict[str, object] = {
        "name": "tiny",
        "architecture": "tiny_ladeda",
        "preprocessing": "left_diag",
        "region": "center:256",
        "calibration": Calibration(temperature=2.5, bias=0.3, threshold=0.6),
        "training": Training(data="a set", commit="abc"),
        "validation": (Figure(data="a set", metric="auc", value=0.9),),
        "licence": "CC0",
    }
    return Card.model_validate(fields | changes)


@pytest.fixture
def model() -> PatchModel:
    torch.manual_seed(0)
    return build("tiny_ladeda", "left_diag")


@pytest.fixture
def saved(tmp_path: Path, model: PatchModel) -> Path:
    path = tmp_path / "runs" / "best.safetensors"
    save_checkpoint(path, model, make_card())
    return path


@pytest.fixture
def published(tmp_path: Path, model: PatchModel) -> Path:
    path = tmp_path / "published.pth"
    torch.save(model.state_dict(), path)
    return path


def assert_same_weights(found: PatchModel, expected: PatchModel) -> None:
    assert not found.training
    for key, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key


def test_what_is_saved_is_read_again(saved: Path, model: PatchModel) -> None:
    found, card = load_checkpoint(saved)
    assert card == make_card()
    assert (found.architecture, found.preprocessing) == ("tiny_ladeda", "left_diag")
    assert_same_weights(found, model)
    assert sorted(os.listdir(saved.parent)) == ["best.json", "best.safetensors"]


def test_saving_again_replaces_both(saved: Path) -> None:
    other = build("ladeda5", "NPR")
    save_checkpoint(saved, other, make_card(architecture="ladeda5", preprocessing="NPR"))
    found, card = load_checkpoint(saved)
    assert card.architecture == "ladeda5"
    assert_same_weights(found, other)


def test_a_failed_save_leaves_what_was_there(saved: Path, model: PatchModel) -> None:
    before = saved.read_bytes()
    card_path(saved).unlink()
    card_path(saved).mkdir()  # so that the card cannot be put in place
    with torch.no_grad():
        model.fc.bias.add_(1)
    with pytest.raises(SinkError, match=r"best\.json cannot be written"):
        save_checkpoint(saved, model, make_card())
    assert saved.read_bytes() == before
    assert sorted(os.listdir(saved.parent)) == ["best.json", "best.safetensors"]


def test_a_folder_that_cannot_be_made(tmp_path: Path, model: PatchModel) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "x.safetensors", model, make_card())


def test_a_card_of_another_model_is_not_saved(tmp_path: Path, model: PatchModel) -> None:
    with pytest.raises(ModelError, match="describes tiny_ladeda with NPR, the model is"):
        save_checkpoint(tmp_path / "x.safetensors", model, make_card(preprocessing="NPR"))
    with pytest.raises(ModelError, match=r"or one that ships .*; found '\.pt'"):
        save_checkpoint(tmp_path / "x.pt", model, make_card())
    assert not list(tmp_path.iterdir())


def test_missing_files_are_named(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.safetensors cannot be read: No such file"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match=r"none\.pth cannot be read: No such file"):
        load_published(tmp_path / "none.pth", "tiny_ladeda", "raw")
    card_path(saved).unlink()
    with pytest.raises(ModelError, match=r"best\.json cannot be read"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "ladeda9"}, r"no checkpoint of ladeda9: expected fc.weight of shape"),
        ({"architecture": "vgg"}, "'vgg' is not known"),
        ({"preprocessing": "npr"}, "preprocessing: expected one of"),
        ({"region": "centre:9"}, "region: .*'centre:9' is not known"),
        ({"schema_version": 2}, "schema_version: expected 1, found 2"),
        ({"colour": 1}, "colour is not known here"),
    ],
)
def test_a_wrong_card_says_where(saved: Path, change: dict[str, object], message: str) -> None:
    card = json.loads(card_path(saved).read_text()) | change
    card_path(saved).write_text(json.dumps(card))
    with pytest.raises((ModelError, UsageError), match=message):
        load_checkpoint(saved)


def test_a_card_that_is_no_json(saved: Path) -> None:
    card_path(saved).write_bytes(b"\xff\x00{")
    with pytest.raises(ModelError, match=r"best\.json: the card"):
        load_checkpoint(saved)


def test_weights_that_are_no_safetensors(saved: Path) -> None:
    saved.write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="expected safetensors"):
        load_checkpoint(saved)


def test_wrong_weights_say_which_and_what(saved: Path) -> None:
    state = load_file(saved)
    wrong = {
        "expected fc.weight of shape \\[1, 8\\], found shape \\[2, 8\\]": (
            state | {"fc.weight": torch.zeros(2, 8)}
        ),
        "expected fc.bias of shape \\[1\\], found no such key": {
            key: value for key, value in state.items() if key != "fc.bias"
        },
        "expected no key extra, found one of shape \\[3\\]": state | {"extra": torch.zeros(3)},
        "expected finite numbers in fc.bias": state | {"fc.bias": torch.tensor([torch.nan])},
    }
    for message, content in wrong.items():
        save_file(content, saved)
        with pytest.raises(ModelError, match=message):
            load_checkpoint(saved)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_files_are_unwrapped(
    tmp_path: Path, model: PatchModel, wrapper: str | None, prefix: str
) -> None:
    state = {prefix + key: value for key, value in model.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "x.pth")
    found = load_published(tmp_path / "x.pth", "tiny_ladeda", "NPR")
    assert found.preprocessing == "NPR"
    assert_same_weights(found, model)


def test_a_published_file_of_another_architecture(published: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"no checkpoint of ladeda9: expected fc\.weight of shape \[1, 2048\], found shape "
        r"\[1, 8\]",
    ):
        load_published(published, "ladeda9", "raw")


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"model": Trap(sprung)}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"more than weights.*it was not run"):
        load_published(tmp_path / "x.pth", "tiny_ladeda", "raw")
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text\n", b"PK\x03\x04 no archive", b"\x80\x02}q\x00."]
)
def test_what_is_no_torch_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.pth"):
        load_published(tmp_path / "x.pth", "tiny_ladeda", "raw")


def test_a_truncated_torch_file_is_refused(published: Path) -> None:
    published.write_bytes(published.read_bytes()[:4000])
    with pytest.raises(ModelError, match="not a whole PyTorch file"):
        load_published(published, "tiny_ladeda", "raw")


def test_content_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(ModelError, match="expected a state dict, found list"):
        load_published(tmp_path / "x.pth", "tiny_ladeda", "raw")
    torch.save({"lr": 0.1}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="expected a tensor under 'lr', found float"):
        load_published(tmp_path / "x.pth", "tiny_ladeda", "raw")
