"""The geometry of a chain, levels, and a convolution in a lopsided border."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edge.manifest import PatchGrid
from training.models.layers import ConvNorm, Levels, Step, grid_of
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD


def test_the_grid_of_a_chain_done_by_hand() -> None:
    # 3 wide; 3 + 2·2 wide every 4, from one step of 2 before; then a 1×1 changes nothing.
    steps = [Step(3, 2), Step(3, 2, before=1), Step(1)]
    assert grid_of(steps) == PatchGrid(receptive_field=7, stride=4, offset=-2)
    assert grid_of([]) == PatchGrid(receptive_field=1, stride=1)


def test_levels_are_grey_levels_about_127() -> None:
    grey = torch.tensor([0.0, 127.0, 255.0]).expand(1, 3, 1, 3)
    mean, std = (
        torch.tensor(IMAGENET_MEAN)[:, None, None],
        torch.tensor(IMAGENET_STD)[:, None, None],
    )
    expected = ((grey - 127) / 128).broadcast_to(1, 3, 1, 3)
    torch.testing.assert_close(Levels("raw")((grey / 255 - mean) / std), expected)
    torch.testing.assert_close(Levels("x_grad")(grey / 255 / std), grey / 128)


def test_a_border_is_put_on_the_side_that_is_asked_for() -> None:
    layer = ConvNorm(2, 3, 3, stride=2, border=(0, 1)).eval()
    x = torch.randn(1, 2, 6, 8)
    expected = layer.norm(F.conv2d(F.pad(x, (0, 1, 0, 1)), layer.conv.weight, stride=2))
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape == (1, 3, 3, 4)
