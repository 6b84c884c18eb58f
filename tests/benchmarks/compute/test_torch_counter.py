"""Networks whose cost is known by hand, and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.compute.torch_counter import count_module
from edge.errors import ModelError
from export.fold import Unfolded
from training.models import build


def test_stride_padding_and_groups() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2),  # 9×11 → 5×6
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),  # 5×6 → 3×4
        nn.Conv2d(8, 2, 1),
    )
    count = count_module(net, torch.zeros(1, 4, 9, 11))
    assert count.macs == 8 * 30 * (2 * 9) + 8 * 12 * 9 + 2 * 12 * 8
    assert count.parameters == (8 * 18 + 8) + 8 * 9 + (16 + 2)
    assert [(op.layer, op.name) for op in count.operators] == [
        ("0", "convolution"),
        ("1", "relu"),
        ("2", "convolution"),
        ("3", "convolution"),
    ]
    first, relu = count.operators[:2]
    assert first.traffic_bytes == 4 * (4 * 99 + 8 * 18 + 8 + 8 * 30)
    assert relu.traffic_bytes == 4 * 2 * 8 * 30


def test_linear_with_and_without_bias() -> None:
    net = nn.Sequential(nn.Linear(10, 6), nn.Linear(6, 3, bias=False))
    count = count_module(net, torch.zeros(5, 10))
    assert count.macs == 5 * (10 * 6 + 6 * 3)
    assert count.traffic_bytes == 4 * ((50 + 60 + 6 + 30) + (30 + 18 + 15))


def test_casts_transposes_and_slices_only_move_data() -> None:
    class Moves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.to(torch.float32).permute(0, 2, 1)[:, 1:3].reshape(-1)

    count = count_module(Moves(), torch.zeros((1, 4, 6), dtype=torch.uint8))
    assert count.macs == 0
    # The slice lies on strided memory, so that the reshape has to copy it.
    assert count.traffic_bytes == (24 + 96) + 2 * 96 + 2 * 32 + 2 * 32


def test_an_unknown_operator_is_refused() -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(x, 0)

    with pytest.raises(ModelError, match="cumsum"):
        count_module(Unknown(), torch.zeros(3))


@pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [("tiny_ladeda", "x_grad"), ("tiny_ladeda", "NPR"), ("ladeda9", "raw"), ("ladeda9", "x_grad")],
)
def test_it_agrees_with_the_counter_of_torch(architecture: str, preprocessing: str) -> None:
    with torch.device("meta"):
        module = Unfolded(build(architecture, preprocessing)).eval()
        frames = torch.zeros((1, 64, 64, 3), dtype=torch.uint8)
    theirs = FlopCounterMode(display=False)
    with theirs, torch.no_grad():
        module(frames)
    assert count_module(module, frames).flops == theirs.get_total_flops() > 0


def test_the_meta_device_counts_the_same_and_leaves_no_hooks() -> None:
    real = Unfolded(build("tiny_ladeda", "NPR")).eval()
    with torch.device("meta"):
        meta = Unfolded(build("tiny_ladeda", "NPR")).eval()
    frames = torch.zeros((1, 33, 47, 3), dtype=torch.uint8)
    ours, theirs = count_module(real, frames), count_module(meta, frames.to("meta"))
    assert (ours.macs, ours.parameters) == (theirs.macs, theirs.parameters)
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in real.modules())
