"""The reverse of `export.fold`, to time a shipped model in torch and as a naive graph.

Convolutions that were multiplied out become a selection and their product, batch norms that were
folded in become biases. The model computes the same numbers, in the same operations as one fresh
from training.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edge.errors import ModelError, UsageError
from edge.manifest import Manifest
from training.models import PatchModel, build
from training.models.lite import SCALE, ConvNorm, LiteModel
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from training.models.tiny_ladeda import PLANES, TinyLaDeDa

NORM_EPS = nn.BatchNorm2d(PLANES).eps
Weights = Mapping[str, Tensor]
"""Initialiser of a folded graph → its values, float64."""


def unfolded(proto: onnx.ModelProto, manifest: Manifest, where: str) -> PatchModel:
    """A model whose folding gives the weights of a folded graph again, in evaluation mode.

    Args:
        proto: the folded graph.
        manifest: its manifest.
        where: the file's name, for messages.

    Raises:
        ModelError: an architecture that this cannot unfold, or other weights than folding gives.
    """
    weights = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()).double()
        for tensor in proto.graph.initializer
    }
    try:
        model = build(manifest.architecture, manifest.preprocessing)
        model.load_state_dict(model.state_dict() | _state(model, weights))
    except (KeyError, RuntimeError, UsageError) as error:
        raise ModelError(
            f"{where}: expected a folded Tiny-LaDeDa or a folded model composed of convolutions, "
            "found a graph of another layout, so the benchmark has no torch form of it. Export "
            "the model again with 'patchwatch export'."
        ) from error
    return model.eval()


def _state(model: PatchModel, weights: Weights) -> dict[str, Tensor]:
    if isinstance(model, TinyLaDeDa):
        return _tiny_state(weights, model.preprocessing)
    if isinstance(model, LiteModel):
        return _composed_state(model, weights)
    raise KeyError(model.architecture)


def _composed_state(model: LiteModel, weights: Weights) -> dict[str, Tensor]:
    state = {"fc.weight": weights["head.weight"][:, :, 0, 0], "fc.bias": weights["head.bias"]}
    for name, layer in model.trunk.named_modules(prefix="trunk"):
        if isinstance(layer, ConvNorm):
            weight = weights[f"{name}.0.weight"]
            state[f"{name}.conv.weight"] = SCALE * weight.flip(1) if layer.reads_levels else weight
            state |= _bias_alone(f"{name}.norm", weights[f"{name}.0.bias"], layer.norm.eps)
    return state


def _tiny_state(weights: Weights, preprocessing: str) -> dict[str, Tensor]:
    packing = (2, 2) if preprocessing == "NPR" else (1, 2)
    stem, stem_bias = _stem(weights, preprocessing, packing)
    second = torch.zeros(PLANES, PLANES, 3, 3, dtype=torch.float64)
    second[:, :3] = stem
    patch = unpack_inputs(weights["trunk.4.weight"][:PLANES], packing)
    return {
        "conv1.weight": torch.eye(PLANES, 3)[:, :, None, None],
        "conv2.weight": second,
        **_bias_alone("bn1", stem_bias),
        "layer1.0.conv1.weight": weights["trunk.2.weight"][:PLANES, :PLANES],
        **_bias_alone("layer1.0.bn1", weights["trunk.2.bias"][:PLANES]),
        "layer1.0.conv2.weight": patch[:, :, :3, :3],
        **_bias_alone("layer1.0.bn2", weights["trunk.4.bias"][:PLANES]),
        "fc.weight": weights["head.weight"][:, :PLANES, 0, 0],
        "fc.bias": weights["head.bias"],
    }


def _bias_alone(name: str, bias: Tensor, eps: float = NORM_EPS) -> dict[str, Tensor]:
    """A batch norm that adds a bias and nothing else."""
    ones = torch.ones(len(bias))
    return {
        f"{name}.weight": torch.sqrt(ones + eps),
        f"{name}.bias": bias,
        f"{name}.running_mean": 0 * ones,
        f"{name}.running_var": ones,
    }


def _stem(weights: Weights, preprocessing: str, packing: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The 3×3 kernel on normalised RGB, float64 [8, 3, 3, 3], and its bias."""
    kernel = _first_phases(weights["trunk.0.weight"], preprocessing == "NPR", packing)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)[:, None, None]
    kernel = kernel.flip(1) * 255 * std
    bias = weights["trunk.0.bias"][:PLANES]
    if preprocessing == "raw":
        mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)[:, None, None]
        bias = bias + (kernel * mean / std).sum((1, 2, 3))
    return kernel, bias


def _first_phases(packed: Tensor, blocks: bool, packing: tuple[int, int]) -> Tensor:
    """The kernel that a packed stem repeats for each phase.

    On 2×2 blocks of residuals the corner is always zero and has no weights. What stands there in
    one phase stands elsewhere in the others.
    """
    known = torch.ones(packed.shape[2:])
    if blocks:
        corner = packed.new_zeros(len(packed), 3, *packed.shape[2:])
        packed = unpack_inputs(torch.cat([corner, packed], 1), packing)
        known = torch.ones(packed.shape[2:])
        known[::2, ::2] = 0
    total, count = torch.zeros(PLANES, 3, 3, 3, dtype=torch.float64), torch.zeros(3, 3)
    for phase in range(len(packed) // PLANES):
        row, column = divmod(phase, packing[1])
        window = (slice(row, row + 3), slice(column, column + 3))
        total += packed[PLANES * phase : PLANES * (phase + 1), :, window[0], window[1]]
        count += known[window]
    return total / count


def unpack_inputs(weight: Tensor, packing: tuple[int, int]) -> Tensor:
    """The reverse of `export.fold.pack_inputs`, padding kept.

    Args:
        weight: [O, rows·columns·C, h, w].
        packing: rows and columns.

    Returns:
        [O, C, rows·h, columns·w].
    """
    rows, columns = packing
    outputs, inputs, height, width = weight.shape
    split = weight.reshape(outputs, rows, columns, inputs // (rows * columns), height, width)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(outputs, -1, height * rows, width * columns)
