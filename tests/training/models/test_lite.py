"""The Lite trunk against the network as published, its sizes and its patches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edge.errors import RegionError, UsageError
from edge.manifest import PatchGrid
from training.models import PatchModel, build
from training.models.lite import ConvNorm, Levels, grid_of
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

PARAMETERS = {
    "lite0_levels": 2_960_689,
    "lite0_magnitudes_s16": 701_521,
}
Span = tuple[int, int]
"""First row, and the row after the last."""


def linear(architecture: str, preprocessing: str) -> PatchModel:
    """A model in float64 without activations, so that none of them hides a pixel."""
    torch.manual_seed(2)
    model = build(architecture, preprocessing).double().eval()
    for module in model.modules():
        if isinstance(module, ConvNorm):
            module.activation = nn.Identity()
    return model.requires_grad_(False)


def rows_seen(model: PatchModel, row: int, size: tuple[int, int]) -> Span:
    """The rows of a picture that move the first patch of a row of the map."""
    x = torch.randn(1, 3, *size, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.patch_logits(x)[0, row, 0], x)
    touched = (gradient.abs().sum((0, 1, 3)) > 0).nonzero().flatten()
    return int(touched[0]), int(touched[-1]) + 1


def rows_of_the_grid(model: PatchModel, row: int, height: int) -> Span:
    """The same by the grid."""
    top = model.grid.offset + row * model.grid.stride
    return max(0, top), min(height, top + model.grid.receptive_field)


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_parameter_counts(architecture: str) -> None:
    model = build(architecture, "raw")
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[architecture]


@pytest.mark.parametrize(
    ("architecture", "stride"), [("lite0_magnitudes_s16", 16), ("lite0_levels", 32)]
)
def test_the_map_has_a_row_for_each_whole_stride(architecture: str, stride: int) -> None:
    model = build(architecture, "raw").eval()
    least = model.grid.smallest_input()
    assert (model.grid.stride, least) == (stride, 2 * stride - 1)
    for height, width in ((least, least), (3 * stride + 1, 2 * stride + 3)):
        with torch.no_grad():
            patches = model.patch_logits(torch.randn(1, 3, height, width))
        assert patches.shape == (1, height // stride, width // stride)
    with pytest.raises(RegionError, match=f"at least {least}×{least}"):
        model(torch.randn(1, 3, least - 1, 99))


@pytest.mark.parametrize("preprocessing", ["x_grad", "raw"])
def test_the_grid_says_which_rows_a_patch_sees(preprocessing: str) -> None:
    model = linear("lite0_magnitudes_s16", preprocessing)
    height = model.grid.receptive_field + 40
    inner = -(model.grid.offset // model.grid.stride) + 1
    for row in (0, inner):
        expected = rows_of_the_grid(model, row, height)
        assert rows_seen(model, row, (height, 2 * model.grid.stride)) == expected
    assert expected[1] - expected[0] == model.grid.receptive_field


def test_npr_needs_whole_blocks_and_is_refused() -> None:
    with pytest.raises(UsageError, match="lite0_levels takes preprocessing raw or a gradient"):
        build("lite0_levels", "NPR")
    with pytest.raises(UsageError, match="architecture 'lite0_s8' is not known"):
        build("lite0_s8", "raw")


def test_first_weights_leave_the_signal_its_size() -> None:
    torch.manual_seed(0)
    model = build("lite0_magnitudes_s16", "raw")
    with torch.no_grad():
        features = model.train().features(torch.randn(4, 3, 64, 64))
    assert 0.2 < features.std() < 5


def test_the_grid_of_a_chain_done_by_hand() -> None:
    # 3 wide; 3 + 2·2 wide every 4; then a 1×1 changes nothing.
    layers = [ConvNorm(3, 4, 3, 2), ConvNorm(4, 4, 5, 2), ConvNorm(4, 4)]
    assert grid_of(layers[:1]) == PatchGrid(receptive_field=3, stride=2)
    assert grid_of(layers) == PatchGrid(receptive_field=11, stride=4, offset=-2)
    assert grid_of([]) == PatchGrid(receptive_field=1, stride=1)


def test_levels_are_grey_levels_about_127() -> None:
    grey = torch.tensor([0.0, 127.0, 255.0]).expand(1, 3, 1, 3)
    mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    expected = ((grey - 127) / 128).broadcast_to(1, 3, 1, 3)
    torch.testing.assert_close(Levels("raw")((grey / 255 - mean) / std), expected)
    torch.testing.assert_close(Levels("x_grad")(grey / 255 / std), grey / 128)


def test_a_border_is_put_where_a_map_of_even_size_needs_it() -> None:
    layer = ConvNorm(2, 3, 3, 2, active=False).eval()
    x = torch.randn(1, 2, 6, 8)
    expected = layer.norm(F.conv2d(F.pad(x, (0, 1, 0, 1)), layer.conv.weight, stride=2))
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape == (1, 3, 3, 4)
