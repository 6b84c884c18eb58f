"""The models: published numbers, formulas by hand, any size, and where each patch lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from edge.errors import RegionError, UsageError
from tests.shared_data import SHARED, shared
from training.checkpoint import load_published
from training.models import PREPROCESSINGS, PatchModel, build
from training.models.ladeda import LaDeDa
from training.models.preprocess import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KERNELS,
    preprocessing_module,
)

PARAMETERS = {
    "tiny_ladeda": 1_297,
    "ladeda5": 13_510_721,
    "ladeda9": 13_641_793,
    "ladeda17": 14_166_081,
    "ladeda33": 16_263_233,
}
SIDES = {"tiny_ladeda": 5, "ladeda5": 5, "ladeda9": 9, "ladeda17": 17, "ladeda33": 33}


def expected_rows(kind: str) -> list[Any]:
    if SHARED is None or not (SHARED / "upstream-weights/expected.json").exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason="needs expected.json"))]
    rows: list[Any] = json.loads((SHARED / "upstream-weights/expected.json").read_text())[kind]
    assert len(rows) == {"tiny": 24, "ladeda": 8}[kind]
    return rows


def sample(size: int) -> Tensor:
    """The picture of the expected values: float32 [1, 3, size, size] RGB, normalised."""
    c, y, x = np.mgrid[:3, :size, :size].astype(np.float64)
    waves = 60 * np.sin(0.11 * x + 0.5 * c) + 40 * np.cos(0.07 * y * (c + 1))
    values = 127.5 + waves + ((7 * x + 13 * y + 29 * c) % 17 - 8)
    levels = torch.from_numpy(np.clip(np.round(values), 0, 255)).float()
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return ((levels / 255 - mean[:, None, None]) / std[:, None, None])[None]


def fill(model: nn.Module) -> None:
    """Give every weight the number that the expected values were made with."""
    state = model.state_dict()
    for i, key in enumerate(sorted(state)):
        value = state[key]
        if not value.is_floating_point():
            continue
        t = np.arange(1, value.numel() + 1, dtype=np.float64)
        u = np.sin(12.9898 * t + 78.233 * (i + 1)) * 43758.5453
        value.copy_(torch.from_numpy(scaled(key, value, u - np.floor(u))).view_as(value))


def scaled(key: str, value: Tensor, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if key.endswith("running_var"):
        return 0.5 + u
    if value.dim() > 1:
        return (2 * u - 1) * float(np.sqrt(6 / (value.numel() / value.shape[0])))
    return 0.5 + u if key.endswith(".weight") else 0.2 * (u - 0.5)


def assert_expected(model: PatchModel, row: dict[str, Any]) -> None:
    picture = sample(row["size"])
    with torch.no_grad():
        logit, patches = model(picture)[0], model.patch_logits(picture)[0]
    assert list(patches.shape) == row["map_shape"]
    flat = patches.flatten()
    found = [logit, flat.mean(), flat.std()]
    torch.testing.assert_close(
        torch.stack(found),
        torch.tensor([row["logit"], row["map_mean"], row["map_std"]]),
        rtol=1e-4,
        atol=1e-4,
    )
    first = torch.tensor(row["map_first"])
    torch.testing.assert_close(flat[: len(first)], first, rtol=1e-4, atol=1e-4)
    last = torch.tensor(row.get("map_last", []))
    torch.testing.assert_close(flat[len(flat) - len(last) :], last, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("row", expected_rows("tiny"))
def test_tiny_gives_the_published_numbers(row: dict[str, Any]) -> None:
    path = shared(f"upstream-weights/{row['checkpoint']}_Tiny_LaDeDa.pth")
    assert_expected(load_published(path, "tiny_ladeda", row["preprocess"]), row)


@pytest.mark.parametrize("row", expected_rows("ladeda"))
def test_ladeda_gives_the_published_numbers(row: dict[str, Any]) -> None:
    model = build(f"ladeda{row['receptive_field']}", row["preprocess"]).eval()
    assert sum(weight.numel() for weight in model.parameters()) == row["params"]
    fill(model)
    assert_expected(model, row)


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_parameter_counts(architecture: str) -> None:
    model = build(architecture, "NPR")
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[architecture]


def test_no_preprocessing_adds_to_the_state_dict() -> None:
    keys = {name: set(build("tiny_ladeda", name).state_dict()) for name in PREPROCESSINGS}
    assert all(found == keys["raw"] for found in keys.values())


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 1), (2, 9)])
def test_npr_is_the_difference_to_the_corner_of_each_block(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    found = preprocessing_module("NPR")(x)
    for i in range(size[0]):
        for j in range(size[1]):
            corner = x[:, :, i // 2 * 2, j // 2 * 2]
            assert torch.equal(found[:, :, i, j], x[:, :, i, j] - corner)


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_are_cross_correlations_with_a_border_of_zeros(name: str) -> None:
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    found = preprocessing_module(name).double()(x)
    padded = torch.zeros(2, 3, 8, 9, dtype=torch.float64)
    padded[:, :, 1:-1, 1:-1] = x
    expected = sum(
        KERNELS[name][k][m] * padded[:, :, k : k + 6, m : m + 7] for k in range(3) for m in range(3)
    )
    torch.testing.assert_close(found, expected)


def test_the_four_kernels() -> None:
    expected = {
        "x_grad": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
        "y_grad": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
        "left_diag": [[0, 1, 2], [-1, 0, 1], [-2, -1, 0]],
        "right_diag": [[-2, -1, 0], [-1, 0, 1], [0, 1, 2]],
    }
    assert {name: np.array(kernel).tolist() for name, kernel in KERNELS.items()} == expected


def seen_by(model: PatchModel, side: int, row: int, column: int) -> tuple[int, int, int, int]:
    """Top, left, bottom, right (exclusive) of the pixels that move one patch's logit."""
    # Several pictures, as a ReLU may hide a pixel of any one of them.
    x = torch.randn(4, 3, side, side, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.patch_logits(x)[:, row, column].sum(), x)
    touched = gradient.abs().sum((0, 1)) > 0
    rows, columns = touched.any(1).nonzero().flatten(), touched.any(0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


@pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [
        *(("tiny_ladeda", name) for name in PREPROCESSINGS),
        ("ladeda5", "NPR"),
        ("ladeda9", "left_diag"),
    ],
)
def test_the_grid_says_which_pixels_a_patch_sees(architecture: str, preprocessing: str) -> None:
    torch.manual_seed(1)
    model = build(architecture, preprocessing).eval().requires_grad_(False)
    grid, side = model.grid, 31
    for row, column in ((0, 0), (1, 2)):
        top, left = (grid.offset + index * grid.stride for index in (row, column))
        bottom, right = top + grid.receptive_field, left + grid.receptive_field
        assert seen_by(model, side, row, column) == (max(0, top), max(0, left), bottom, right)


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_a_patch_has_the_side_in_the_name(architecture: str) -> None:
    assert build(architecture, "raw").grid.receptive_field == SIDES[architecture]
    filtered = build(architecture, "x_grad").grid
    assert (filtered.receptive_field, filtered.offset) == (SIDES[architecture] + 2, -1)


@pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [*(("tiny_ladeda", name) for name in PREPROCESSINGS), ("ladeda9", "NPR")],
)
def test_the_map_covers_the_picture_at_any_size(architecture: str, preprocessing: str) -> None:
    model = build(architecture, preprocessing).eval()
    grid = model.grid
    for size in ((33, 46), (40, 31), (35, 35)):
        with torch.no_grad():
            rows, columns = model.patch_logits(torch.randn(1, 3, *size)).shape[1:]
        for count, length in ((rows, size[0]), (columns, size[1])):
            assert count == (length - grid.smallest_input()) // grid.stride + 1


@pytest.mark.parametrize("preprocessing", ["NPR", "y_grad"])
@pytest.mark.parametrize("architecture", PARAMETERS)
def test_one_patch_is_enough_and_less_is_refused(architecture: str, preprocessing: str) -> None:
    model = build(architecture, preprocessing).eval()
    least = model.grid.smallest_input()
    assert least == SIDES[architecture]
    with torch.no_grad():
        assert model.patch_logits(torch.randn(1, 3, least, least)).shape == (1, 1, 1)
        assert model(torch.randn(2, 3, least, least + 1)).shape == (2,)
        with pytest.raises(RegionError, match=f"at least {least}×{least} .* {least - 1}×90"):
            model(torch.randn(1, 3, least - 1, 90))


def test_the_logit_is_the_mean_of_the_map_and_each_picture_stands_alone() -> None:
    model = build("tiny_ladeda", "left_diag").eval()
    x = torch.randn(3, 3, 21, 30)
    with torch.no_grad():
        logits, patches = model(x), model.patch_logits(x)
        alone = torch.cat([model(picture[None]) for picture in x])
    torch.testing.assert_close(logits, patches.mean((1, 2)))
    torch.testing.assert_close(logits, alone)


def test_it_learns() -> None:
    torch.manual_seed(0)
    model = build("tiny_ladeda", "NPR")
    x, labels = torch.randn(4, 3, 17, 17), torch.tensor([0.0, 1.0, 0.0, 1.0])
    x[1::2] *= 0.2
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(10):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(weight.grad is not None for weight in model.parameters())


def test_first_weights_follow_he() -> None:
    torch.manual_seed(0)
    model = build("ladeda9", "raw")
    assert isinstance(model, LaDeDa)
    assert model.conv2.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert torch.equal(model.bn1.weight, torch.ones(64))


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UsageError, match=r"'resnet' is not known.*tiny_ladeda, ladeda5.*ladeda33"):
        build("resnet", "raw")
    with pytest.raises(UsageError, match=r"'npr' is not known.*raw, NPR, x_grad.*right_diag"):
        build("tiny_ladeda", "npr")


def test_published_files_hold_exactly_the_keys_of_the_model() -> None:
    path: Path = shared("upstream-weights/WildRF_Tiny_LaDeDa.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    assert set(state) == set(build("tiny_ladeda", "raw").state_dict())
