"""Residuals: nothing of a flat picture, differences done by hand, and the limit."""

from __future__ import annotations

import pytest
import torch

from training.models.residuals import BANKS, GAIN, Residuals


@pytest.mark.parametrize("side", [3, 5])
def test_every_kernel_sums_to_zero_and_stays_within_its_side(side: int) -> None:
    banks = [name for name in BANKS if name != "square5" or side == 5]
    residuals = Residuals(banks, side, learned=4)
    weight = residuals.weight()
    assert weight.shape == (residuals.channels, 3, side, side)
    assert weight.sum((2, 3)).abs().max() < 1e-4
    flat = torch.full((1, 3, 9, 9), 0.7)
    assert residuals(flat).abs().max() < 1e-4


def test_a_second_difference_of_one_colour() -> None:
    green = torch.zeros(1, 3, 3, 5)
    green[0, 1, 1] = torch.tensor([0.0, 8.0, 4.0, 0.0, 0.0]) / 128
    found = Residuals(("second",), 3)(green)[0, :3, 0]
    expected = torch.tensor([(0 - 16 + 4) / 2, (8 - 8 + 0) / 2, (4 - 0 + 0) / 2]) * GAIN
    torch.testing.assert_close(found[1], expected)
    assert torch.equal(found[[0, 2]], torch.zeros(2, 3))


def test_large_residuals_are_cut_off() -> None:
    residuals = Residuals(("first", "square3"), 3, limit=8)
    assert residuals(torch.randn(1, 3, 16, 16)).abs().max() == 8 * GAIN


def test_learned_kernels_learn_and_fixed_ones_are_no_weights() -> None:
    residuals = Residuals((), 3, learned=2)
    residuals(torch.randn(1, 3, 8, 8)).square().sum().backward()
    assert residuals.free is not None and residuals.free.grad is not None
    assert residuals.free.grad.abs().max() > 0
    assert set(Residuals(("second",), 3).state_dict()) == set()
