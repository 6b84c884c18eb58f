"""Fine trunks: their weights, their patches, and sizes with and without a border."""

from __future__ import annotations

import pytest
import torch

from tests.training.models.probing import linear, rows_seen, rows_told
from training.models import build
from training.models.fine import FINE, FineTrunk

PARAMETERS = {"fine_s": 5_004, "fine_m": 39_548, "fine_l": 154_012}
GRIDS = {"fine_s": (9, 2), "fine_m": (19, 4), "fine_l": (31, 4)}


@pytest.mark.parametrize("architecture", FINE)
def test_parameters_and_patches(architecture: str) -> None:
    model = build(architecture, "NPR")
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[architecture]
    grid = model.grid
    assert (grid.receptive_field, grid.stride, grid.offset) == (*GRIDS[architecture], 0)


@pytest.mark.parametrize("architecture", FINE)
@pytest.mark.parametrize("preprocessing", ["raw", "NPR", "x_grad"])
def test_the_grid_says_which_rows_a_patch_sees(architecture: str, preprocessing: str) -> None:
    model = linear(architecture, preprocessing)
    for row in (0, 2):
        assert rows_seen(model, row, (48, 40)) == rows_told(model, row, 48)


@pytest.mark.parametrize("size", [(33, 46), (40, 37)])
@pytest.mark.parametrize("architecture", FINE)
def test_every_patch_lies_on_the_picture(architecture: str, size: tuple[int, int]) -> None:
    model = build(architecture, "raw").eval()
    with torch.no_grad():
        shape = model.patch_logits(torch.randn(1, 3, *size)).shape[1:]
    least, stride = model.grid.smallest_input(), model.grid.stride
    assert shape == tuple((side - least) // stride + 1 for side in size)


@pytest.mark.parametrize("height", [31, 32, 33, 34, 35])
@pytest.mark.parametrize("architecture", FINE)
def test_a_border_gives_a_row_for_each_whole_stride(architecture: str, height: int) -> None:
    trunk = FineTrunk(FINE[architecture], bordered=True).eval()
    with torch.no_grad():
        rows, columns = trunk(torch.randn(1, 3, height, 40)).shape[2:]
    assert (rows, columns) == (height // trunk.grid.stride, 40 // trunk.grid.stride)


def test_brightness_alone_is_no_evidence() -> None:
    model = build("fine_s", "raw").eval()
    x = torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(model(x + 0.5), model(x), rtol=1e-3, atol=1e-4)
