from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edge.errors import ModelError, UsageError
from edge.manifest import Training
from tests.training.data.get.server import Site, serve
from training.checkpoint import Card, load_any, load_checkpoint, load_resnet18, save_checkpoint
from training.data.get.download import AddressError, FetchError
from training.data.get.published import Part
from training.faces.config import FacesConfig
from training.faces.model import PUBLISHED, fetched, first_model, load_imagenet
from training.models import build, build_any, resnet18
from training.models.resnet18 import ResNet18, resnet18_named

Array = npt.NDArray[np.float64]
Weights = Mapping[str, Array]


def lively(model: ResNet18) -> ResNet18:
    """Batch norms that have seen something, so that leaving one out has an effect."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.2)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of the channels: what is about files need not be slow."""
    monkeypatch.setattr(resnet18, "PLANES", (8, 16, 32, 64))


# The network once more, in NumPy and float64, after the paper and torchvision's names.


def _conv(w: Weights, name: str, x: Array, stride: int, border: int) -> Array:
    kernel = w[f"{name}.weight"]
    side = kernel.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (border, border), (border, border)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    return np.tensordot(windows, kernel, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


def _norm(w: Weights, name: str, x: Array) -> Array:
    scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + 1e-5)
    shift = w[f"{name}.bias"] - w[f"{name}.running_mean"] * scale
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return np.asarray(x * scale.reshape(shape) + shift.reshape(shape))


def _highest(x: Array) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return np.asarray(windows[:, :, ::2, ::2].max((4, 5)))


def _block(w: Weights, name: str, x: Array, stride: int) -> Array:
    out = np.maximum(_norm(w, f"{name}.bn1", _conv(w, f"{name}.conv1", x, stride, 1)), 0)
    out = _norm(w, f"{name}.bn2", _conv(w, f"{name}.conv2", out, 1, 1))
    if f"{name}.downsample.0.weight" in w:
        x = _norm(w, f"{name}.downsample.1", _conv(w, f"{name}.downsample.0", x, stride, 0))
    return np.maximum(out + x, 0)


def _linear(w: Weights, name: str, x: Array) -> Array:
    return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])


def forward(w: Weights, x: Array, hidden: bool) -> Array:
    """Class logits [N, 2] of [N, 3, H, W]."""
    x = _highest(np.maximum(_norm(w, "bn1", _conv(w, "conv1", x, 2, 3)), 0))
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            x = _block(w, f"layer{layer}.{block}", x, 2 if layer > 1 and block == 0 else 1)
    x = x.mean((2, 3))
    if not hidden:
        return _linear(w, "fc.1", x)
    return _linear(w, "fc.5", _norm(w, "fc.3", np.maximum(_linear(w, "fc.1", x), 0)))


@pytest.mark.parametrize("hidden", [None, 256])
def test_logits_are_those_of_another_implementation(hidden: int | None) -> None:
    torch.manual_seed(0)
    model = lively(ResNet18(0.5, hidden))
    pictures = np.random.default_rng(1).normal(0, 1, (2, 3, 75, 98)).astype(np.float32)
    weights = {name: x.double().numpy() for name, x in model.state_dict().items()}
    expected = forward(weights, pictures.astype(np.float64), hidden is not None)
    with torch.no_grad():
        found = model.class_logits(torch.from_numpy(pictures)).double().numpy()
        evidence = model(torch.from_numpy(pictures)).double().numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert evidence == pytest.approx(expected[:, 1] - expected[:, 0], rel=1e-4, abs=1e-5)


def test_names_and_shapes_are_the_published_ones() -> None:
    state = ResNet18().state_dict()
    body = {name for name in state if not name.startswith("fc.")}
    assert sum(x.numel() for x in ResNet18().parameters()) == 11_176_512 + 2 * 513
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight"} <= body
    assert sorted(n for n in body if "downsample.0" in n) == [
        f"layer{i}.0.downsample.0.weight" for i in (2, 3, 4)
    ]
    assert len(body) == 120 and state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer4.1.conv2.weight"].shape == (512, 512, 3, 3)


def test_the_heads_are_those_of_the_original() -> None:
    kinds = [type(layer) for layer in ResNet18(0.75, 256).fc]
    assert kinds == [nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in ResNet18(0.75).fc] == [nn.Dropout, nn.Linear]
    assert {x.p for x in ResNet18(0.75, 256).fc if isinstance(x, nn.Dropout)} == {0.75}


def test_a_name_says_the_hidden_layer(narrow: None) -> None:
    assert ResNet18(hidden=12).architecture == "resnet18_hidden12"
    assert resnet18_named("resnet18_hidden12").hidden == 12
    assert resnet18_named("resnet18").hidden is None
    with pytest.raises(UsageError, match="'resnet34' is not known"):
        resnet18_named("resnet34")
    with pytest.raises(UsageError, match="takes preprocessing raw, found NPR"):
        build_any("resnet18", "NPR")
    with pytest.raises(UsageError, match="is not known"):
        build("resnet18", "raw")  # it is no patch model


def _card(architecture: str) -> Card:
    fields = {"name": "x", "architecture": architecture, "preprocessing": "raw", "licence": "CC0"}
    return Card.model_validate({**fields, "training": Training(data="chance")})


@pytest.mark.parametrize("hidden", [None, 12])
def test_a_checkpoint_comes_back_as_it_was(
    narrow: None, tmp_path: Path, hidden: int | None
) -> None:
    model = lively(ResNet18(0.5, hidden))
    save_checkpoint(tmp_path / "a.safetensors", model, _card(model.architecture))
    found, card = load_resnet18(tmp_path / "a.safetensors")
    assert card.architecture == model.architecture == found.architecture
    x = torch.randn(2, 3, 40, 50)
    with torch.no_grad():
        assert torch.equal(found(x), model(x))
    assert isinstance(load_any(tmp_path / "a.safetensors")[0], ResNet18)
    with pytest.raises(ModelError, match="judges a face whole, where a patch model was expected"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_a_patch_model_is_no_face_model(tmp_path: Path) -> None:
    model = build("tiny_ladeda", "raw")
    save_checkpoint(tmp_path / "a.safetensors", model, _card("tiny_ladeda"))
    with pytest.raises(ModelError, match="a patch model, where a resnet18 of faces was expected"):
        load_resnet18(tmp_path / "a.safetensors")


def published(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """A state dict as it is published: a thousand classes, and batch norms that do not count."""
    torch.manual_seed(5)
    state = lively(ResNet18()).state_dict()
    body = {k: x for k, x in state.items() if k[:3] != "fc." and "num_batches" not in k}
    head = {"fc.weight": torch.zeros(1000, resnet18.PLANES[-1]), "fc.bias": torch.zeros(1000)}
    return {**body, **head, **changes}


def weight(model: ResNet18, place: int) -> torch.Tensor:
    """The weight of a layer of the head."""
    return cast(nn.Linear, model.fc[place]).weight


def _file(path: Path, state: object) -> Path:
    torch.save(state, path)
    return path


def test_published_weights_are_taken_over_but_for_the_head(narrow: None, tmp_path: Path) -> None:
    state = published()
    model = ResNet18(hidden=9)
    head = weight(model, 1).clone()
    load_imagenet(model, _file(tmp_path / "w.pth", state))
    found = model.state_dict()
    assert all(torch.equal(found[k], x) for k, x in state.items() if k[:3] != "fc.")
    assert torch.equal(weight(model, 1), head)


def test_other_weights_are_refused_and_nothing_is_run(narrow: None, tmp_path: Path) -> None:
    model, path = ResNet18(), tmp_path / "w.pth"
    _file(path, {k: x for k, x in published().items() if k != "layer2.0.bn1.bias"})
    with pytest.raises(ModelError, match=r"expected layer2\.0\.bn1\.bias .* no such key"):
        load_imagenet(model, path)
    _file(path, published(**{"conv1.weight": torch.zeros(8, 3, 3, 3)}))
    with pytest.raises(ModelError, match=r"found shape \[8, 3, 3, 3\]"):
        load_imagenet(model, path)
    _file(path, published(**{"layer5.0.conv1.weight": torch.zeros(1)}))
    with pytest.raises(ModelError, match=r"expected no key layer5\.0\.conv1\.weight"):
        load_imagenet(model, path)
    _file(path, _Trap(tmp_path / "sprung"))
    with pytest.raises(ModelError, match="it was not run"):
        load_imagenet(model, path)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(ModelError, match="cannot be read"):
        load_imagenet(model, tmp_path / "absent.pth")


class _Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self._path), "w")


def _config(**changes: object) -> FacesConfig:
    return FacesConfig.model_validate({"kind": "faces", "name": "f", **changes})


def test_first_weights_come_from_where_the_configuration_says(narrow: None, tmp_path: Path) -> None:
    state = published()
    path = _file(tmp_path / "w.pth", state)
    assert torch.equal(first_model(_config(init=path)).conv1.weight, state["conv1.weight"])
    own = ResNet18(hidden=12)
    save_checkpoint(tmp_path / "own.safetensors", own, _card("resnet18_hidden12"))
    again = first_model(_config(init=tmp_path / "own.safetensors", hidden=12, dropout=0.5))
    assert torch.equal(weight(again, 5), weight(own, 5))
    assert isinstance(again.fc[0], nn.Dropout) and again.fc[0].p == 0.5
    with pytest.raises(UsageError, match="expected a resnet18, found a resnet18_hidden12"):
        first_model(_config(init=tmp_path / "own.safetensors"))
    with pytest.raises(UsageError, match=r"expected imagenet, a \.pth or"):
        first_model(_config(init="weights.bin"))


def _bytes(state: object) -> bytes:
    data = io.BytesIO()
    torch.save(state, data)
    return data.getvalue()


def _part(address: str, data: bytes) -> Part:
    return Part("w", "w.pth", f"{address}/w.pth", sha256=hashlib.sha256(data).hexdigest())


def test_imagenet_weights_are_fetched_once_and_checked(narrow: None) -> None:
    state = published()
    data = _bytes(state)
    with serve(Site({"w.pth": data})) as site:
        part = _part(site.address, data)
        for _ in range(2):
            model = first_model(_config(), part)
            assert torch.equal(model.conv1.weight, state["conv1.weight"])
        assert len(site.asked) == 1


def test_another_file_at_the_address_is_not_used() -> None:
    with serve(Site({"w.pth": b"something else"})) as site:
        part = Part("w", "other.pth", f"{site.address}/w.pth", sha256="0" * 64)
        with pytest.raises(FetchError, match=r"is not what was published.*It was deleted"):
            fetched(part)


def test_without_a_network_it_says_how_to_go_on() -> None:
    with serve(Site({})) as site:
        absent = Part("w", "absent.pth", f"{site.address}/absent.pth", sha256="0" * 64)
        with pytest.raises(AddressError) as missing:
            fetched(absent)
    with pytest.raises(AddressError) as offline:
        fetched(absent)  # the server has gone
    for error in (missing, offline):
        assert "absent.pth on another machine and name it: --set init=FILE" in str(error.value)
        assert "--from" not in str(error.value)
    assert "answered 404" in str(missing.value) and "could not be fetched" in str(offline.value)


def test_the_published_file_is_named_by_the_beginning_of_its_hash() -> None:
    assert PUBLISHED.sha256 is not None and f"-{PUBLISHED.sha256[:8]}." in PUBLISHED.file
    assert PUBLISHED.address.endswith(PUBLISHED.file)
