"""A model in the forms that are counted: as published, folded, and as the file runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.compute.formulas import Count
from benchmarks.compute.names import Form, SizeHW
from benchmarks.compute.onnx_counter import count_graph, skeleton
from benchmarks.compute.torch_counter import count_module
from export.fold import Unfolded, folded_module
from export.graph import INPUT, to_onnx
from training.models import PatchModel, build
from training.models.lite import LiteModel
from training.models.preprocess import KERNELS


class PlainFolding(Unfolded):
    """The shapes of a folded model without packing; what it computes is not the model's output.

    conv1 is in conv2, batch norms are biases, and the normalisation is in the first convolution.
    """

    def __init__(self, model: PatchModel) -> None:
        super().__init__(copy.deepcopy(model))
        stem = cast(nn.Conv2d, self.model.conv2)
        kernel = (stem.kernel_size[0], stem.kernel_size[1])
        device = stem.weight.device
        self.model.conv1 = nn.Identity()
        self.model.conv2 = nn.Conv2d(3, stem.out_channels, kernel, bias=False, device=device)
        for module in list(self.model.modules()):
            _absorb_batch_norms(module)
        self.eval()

    def normalised(self, frames: Tensor) -> Tensor:
        """Frames uint8 [N, H, W, 3] BGR → float32 [N, 3, H, W] BGR grey levels."""
        x = frames.to(torch.float32).permute(0, 3, 1, 2)
        return x - self.mean if self.model.preprocessing in KERNELS else x


def _absorb_batch_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
    if isinstance(module, nn.Conv2d):
        module.bias = nn.Parameter(module.weight.new_empty(module.out_channels))


def counts(
    architecture: str, preprocessing: str, form: Form, sizes: Sequence[SizeHW]
) -> Iterator[Count]:
    """Count one picture of each size, in order.

    Args:
        architecture: one of `training.models.ARCHITECTURES`.
        preprocessing: one of `training.models.PREPROCESSINGS`.
        form: which graph of the model.
        sizes: height and width in pixels.

    Raises:
        UsageError: a name that is not known.
    """
    with torch.device("meta"):
        model = build(architecture, preprocessing)
    if form == "folded" or (form == "plain" and isinstance(model, LiteModel)):
        # A Lite model is not packed: what is executed is the algorithm.
        graph = skeleton(to_onnx(folded_module(build(architecture, preprocessing).eval())))
        for height, width in sizes:
            yield count_graph(graph, {INPUT: (1, height, width, 3)})
        return
    with torch.device("meta"):
        module = Unfolded(model).eval() if form == "naive" else PlainFolding(model)
    for height, width in sizes:
        yield count_module(module, _meta_frames(height, width))


def per_layer(architecture: str, preprocessing: str, form: Form, height: int, width: int) -> Count:
    """Count one picture, operator by operator; arguments and errors as of `counts`."""
    return next(counts(architecture, preprocessing, form, [(height, width)]))


def _meta_frames(height: int, width: int) -> Tensor:
    return torch.zeros((1, height, width, 3), dtype=torch.uint8, device="meta")
