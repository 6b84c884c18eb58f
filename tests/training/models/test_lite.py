"""The Lite trunk against the network as published, its sizes and its patches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edge.errors import RegionError, UsageError
from tests.training.models.probing import linear, rows_seen, rows_told
from training.models import build
from training.models.lite import BLOCKS

PARAMETERS = {"lite0_s8": 55_545, "lite0_s16": 700_881, "lite0_s32": 2_959_169}


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_parameter_counts(architecture: str) -> None:
    model = build(architecture, "raw")
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[architecture]


@pytest.mark.parametrize("stride", BLOCKS)
def test_the_map_has_a_row_for_each_whole_stride(stride: int) -> None:
    model = build(f"lite0_s{stride}", "raw").eval()
    least = model.grid.smallest_input()
    assert (model.grid.stride, least) == (stride, 2 * stride - 1)
    for height, width in ((least, least), (3 * stride + 1, 2 * stride + 3)):
        with torch.no_grad():
            patches = model.patch_logits(torch.randn(1, 3, height, width))
        assert patches.shape == (1, height // stride, width // stride)
    with pytest.raises(RegionError, match=f"at least {least}×{least}"):
        model(torch.randn(1, 3, least - 1, 99))


@pytest.mark.parametrize(
    ("architecture", "preprocessing"), [("lite0_s8", "x_grad"), ("lite0_s16", "raw")]
)
def test_the_grid_says_which_rows_a_patch_sees(architecture: str, preprocessing: str) -> None:
    model = linear(architecture, preprocessing)
    height = model.grid.receptive_field + 40
    inner = -(model.grid.offset // model.grid.stride) + 1
    for row in (0, inner):
        told = rows_told(model, row, height)
        assert rows_seen(model, row, (height, 2 * model.grid.stride)) == told
    assert told[1] - told[0] == model.grid.receptive_field


def test_npr_needs_whole_blocks_and_is_refused() -> None:
    with pytest.raises(UsageError, match="lite0_s16 takes preprocessing raw or a gradient"):
        build("lite0_s16", "NPR")


def test_first_weights_leave_the_signal_its_size() -> None:
    torch.manual_seed(0)
    model = build("lite0_s8", "raw")
    with torch.no_grad():
        features = model.train().features(torch.randn(4, 3, 64, 64))
    assert 0.2 < features.std() < 5
    assert any(isinstance(module, nn.Dropout2d) for module in model.modules())
