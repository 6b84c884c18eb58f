"""The models that are timed, each in all its forms: torch, naive graph, folded model file.

All forms of a model have the same weights, so that their logits can be compared. The shipped
models are kept folded only; `benchmarks.latency.unfold` takes them apart again.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from benchmarks.latency.unfold import unfolded
from edge.errors import ModelError
from edge.manifest import METADATA_KEY, Manifest, PatchGrid, Training, parse_manifest
from edge.regions import parse_region
from export.compare import textured
from export.fold import Unfolded, folded_module
from export.graph import embed, to_onnx
from training.models import PatchModel, build

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
        region_hw: what its manifest's region gives it of a large frame; None for the whole frame.
    """

    name: str
    module: nn.Module
    naive_graph: bytes
    folded_file: Path | None
    validation_auc: float | None
    region_hw: HW | None = None
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
    """The subject of a shipped, folded model.

    Raises:
        ModelError: not a model file that `unfolded` can take apart.
    """
    proto = _load(path)
    manifest = _manifest(proto, path)
    naive = Unfolded(unfolded(proto, manifest, path.name)).eval()
    side = parse_region(manifest.region).size
    region_hw = (side, side) if side else None
    auc = validation_auc(manifest)
    return Subject(manifest.name, naive, _naive_graph(naive), path, auc, region_hw)


def fresh_subject(architecture: str, preprocessing: str, seed: int, folder: Path) -> Subject:
    """A model with weights drawn from `seed`; its folded file is written into `folder`."""
    torch.manual_seed(seed)
    model = build(architecture, preprocessing)
    settle_batch_norms(model)
    naive = Unfolded(model).eval()
    path = folder / f"{architecture}.onnx"
    folded = to_onnx(folded_module(model))
    embed(folded, _fresh_manifest(model))
    path.write_bytes(folded.SerializeToString())
    return Subject(architecture, naive, _naive_graph(naive), path, None)


def _naive_graph(naive: Unfolded) -> bytes:
    with warnings.catch_warnings():
        # A border on one side alone leaves operators that the exporter says it does not fold.
        warnings.filterwarnings("ignore", "Constant folding")
        graph: bytes = to_onnx(naive).SerializeToString()
        return graph


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
    assert isinstance(subject.module, Unfolded)  # every subject made here is one
    return subject.module.model.preprocessing


def validation_auc(manifest: Manifest) -> float | None:
    """The first AUC on untouched pictures that a manifest gives."""
    for figure in manifest.validation:
        if "auc" in figure.metric.lower() and figure.degradation == "untouched":
            return figure.value
    return None


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
