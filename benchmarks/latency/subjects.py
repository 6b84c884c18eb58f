"""The models that are timed, each in all its forms: torch, naive graph, folded model file.

All forms of a model have the same weights, so that their logits can be compared. The shipped
model is kept folded only; `unfolded` takes it apart again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edge.errors import ModelError
from edge.manifest import METADATA_KEY, Manifest, PatchGrid, Training, parse_manifest
from export.fold import folded_module
from export.graph import embed, to_onnx
from export.naive import Naive, naive_module
from export.parity import textured
from training.models import PatchModel, build
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from training.models.tiny_ladeda import PLANES

HW = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One model in its forms, all with the same weights.

    Attributes:
        name: as tables show it.
        module: nothing folded; uint8 [N, H, W, 3] BGR → (logit [N], patch_logits [N, h, w]).
        naive_graph: `module` as ONNX, any shape.
        folded_file: the folded model file with its manifest; None where it cannot be folded.
        validation_auc: what its manifest says, 0..1; None where it says nothing.
    """

    name: str
    module: nn.Module
    naive_graph: bytes
    folded_file: Path | None
    validation_auc: float | None
    _references: dict[HW, float] = field(default_factory=dict)

    def reference_logit(self, hw: HW) -> float:
        """The logit in torch of the textured frame of a size; worked out once.

        Its mean over patches is taken in float64: torch's own float32 mean over a large map would
        be the less exact of the two compared.
        """
        if hw not in self._references:
            with torch.inference_mode():
                patches: Tensor = self.module(torch.from_numpy(textured((1, *hw))))[1]
            self._references[hw] = float(patches[0].double().mean())
        return self._references[hw]


def shipped_subject(path: Path) -> Subject:
    """The subject of a shipped, folded Tiny-LaDeDa.

    Raises:
        ModelError: not a model file that `unfolded` can take apart.
    """
    proto = _load(path)
    manifest = _manifest(proto, path)
    naive = naive_module(unfolded(proto, manifest, path.name))
    graph = to_onnx(naive).SerializeToString()
    return Subject(manifest.name, naive, graph, path, validation_auc(manifest))


def fresh_subject(architecture: str, preprocessing: str, seed: int, folder: Path) -> Subject:
    """A model with weights drawn from `seed`; its folded file is written into `folder`."""
    torch.manual_seed(seed)
    model = build(architecture, preprocessing)
    settle_batch_norms(model)
    naive = naive_module(model)
    path = folder / f"{architecture}.onnx"
    folded = to_onnx(folded_module(model))
    embed(folded, _fresh_manifest(model))
    path.write_bytes(folded.SerializeToString())
    return Subject(architecture, naive, to_onnx(naive).SerializeToString(), path, None)


def settle_batch_norms(model: nn.Module) -> None:
    """Give batch norms the figures of a picture, so that logits are of a trained model's size.

    Args:
        model: takes float32 [N, 3, H, W]; left in evaluation mode.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    picture = torch.from_numpy(textured((2, 96, 96))).permute(0, 3, 1, 2) / 128 - 1
    with torch.no_grad():
        model.train()(picture)
    model.eval()


def preprocessing_of(subject: Subject) -> str:
    """The name of a patch model's preprocessing."""
    assert isinstance(subject.module, Naive)  # every subject made here is one
    return subject.module.model.preprocessing


def validation_auc(manifest: Manifest) -> float | None:
    """The first AUC on untouched pictures that a manifest gives."""
    for figure in manifest.validation:
        if "auc" in figure.metric.lower() and figure.degradation == "untouched":
            return figure.value
    return None


def unfolded(proto: onnx.ModelProto, manifest: Manifest, where: str) -> PatchModel:
    """A Tiny-LaDeDa whose folding gives the weights of a folded graph again.

    The reverse of `export.fold`: convolutions that were multiplied out become a selection and
    their product, batch norms that were folded in become biases. The model computes the same
    numbers, in the same operations as one fresh from training.

    Args:
        proto: the folded graph.
        manifest: its manifest.
        where: the file's name, for messages.

    Raises:
        ModelError: another architecture, or other weights than folding gives.
    """
    model = build("tiny_ladeda", manifest.preprocessing)
    weights = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()).double()
        for tensor in proto.graph.initializer
    }
    try:
        state = _state(weights, manifest.preprocessing)
        model.load_state_dict(model.state_dict() | state)
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"{where}: expected a folded Tiny-LaDeDa, found a graph of another layout, so the "
            "benchmark has no torch form of it. Export the model again with 'patchwatch export'."
        ) from error
    return model.eval()


def _state(weights: dict[str, Tensor], preprocessing: str) -> dict[str, Tensor]:
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


def _bias_alone(name: str, bias: Tensor) -> dict[str, Tensor]:
    """A batch norm that adds a bias and nothing else."""
    ones = torch.ones(PLANES)
    scale = torch.sqrt(ones + nn.BatchNorm2d(PLANES).eps)
    return {
        f"{name}.weight": scale,
        f"{name}.bias": bias,
        f"{name}.running_mean": 0 * ones,
        f"{name}.running_var": ones,
    }


def _stem(
    weights: dict[str, Tensor], preprocessing: str, packing: tuple[int, int]
) -> tuple[Tensor, Tensor]:
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
    """The reverse of `export.tiny.pack_inputs`, padding kept.

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


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model(str(path))
    except Exception as error:  # protobuf's and onnx's errors share no base
        raise ModelError(
            f"{path}: expected an ONNX model, and it cannot be read. Copy or export it again."
        ) from error


def _manifest(proto: onnx.ModelProto, path: Path) -> Manifest:
    for entry in proto.metadata_props:
        if entry.key == METADATA_KEY:
            return parse_manifest(entry.value, path.name)
    raise ModelError(f"{path}: carries no patchwatch manifest. Export it with 'patchwatch export'.")


def _fresh_manifest(model: PatchModel) -> Manifest:
    grid: PatchGrid = model.grid
    return Manifest(
        name=model.architecture,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        patches=grid,
        training=Training(data="none: random weights, to be timed only"),
        licence="none",
    )
