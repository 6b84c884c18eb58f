"""A ResNet-18 leaves folded exactly, takes any size, and says that it has no patches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import patchwatch
from edge.backends import open_backend
from edge.errors import ModelError, RegionError
from export.fold import folded_module
from export.graph import INPUT, manifest_in, to_onnx
from export.lint import lint
from export.model_file import export_model, graph_of, prove
from export.naive import NaiveWhole
from export.parity import measure, smallest_input, textured
from tests.export.models import make_card
from training.checkpoint import save_checkpoint
from training.models import resnet18
from training.models.resnet18 import ResNet18

SHAPES = ((1, 224, 224), (1, 32, 32), (2, 49, 64), (1, 63, 131))
HEADS = pytest.mark.parametrize("hidden", [None, 12])


@pytest.fixture(autouse=True, scope="module")
def narrow() -> Iterator[None]:
    """An eighth of the channels: sizes and borders are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet18, "PLANES", (8, 16, 32, 64))
        yield


def lively(hidden: int | None = None) -> ResNet18:
    """Random weights, also in the batch norms, in evaluation mode."""
    torch.manual_seed(3)
    model = ResNet18(0.5, hidden)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.2)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def card(model: ResNet18) -> object:
    return make_card(model, region="faces:224")  # type: ignore[arg-type]


@HEADS
def test_it_folds_exactly_at_any_size(hidden: int | None) -> None:
    model = lively(hidden)
    proto = to_onnx(folded_module(model), patches=False)
    rows = measure(model, proto.SerializeToString(), SHAPES)
    assert max(row.logit_scaled for row in rows) < 5e-6
    assert {row.shape for row in rows} == set(SHAPES)
    kinds = {node.op_type for node in proto.graph.node}
    assert not {"BatchNormalization", "Dropout", "Pad", "Shape", "Identity", "Div"} & kinds


@HEADS
def test_folding_changes_nothing_in_float64(hidden: int | None) -> None:
    # Rounding of weights is all that is left: about 1e-7 each.
    model = lively(hidden)
    frames = torch.from_numpy(textured((1, 70, 81)))
    with torch.no_grad():
        folded = folded_module(model)(frames)
        expected = NaiveWhole(model.double()).double()(frames)
    assert folded.item() == pytest.approx(expected.item(), rel=2e-6, abs=2e-6)


def test_what_is_written_passes_the_lint_and_has_no_patches(tmp_path: Path) -> None:
    model, path = lively(12), tmp_path / "faces.onnx"
    export_model(model, card(model), path, shapes=SHAPES)  # type: ignore[arg-type]
    proto = onnx.load_model(str(path))
    assert lint(proto) == []
    assert [value.name for value in proto.graph.output] == ["logit"]
    manifest = manifest_in(proto, "it")
    assert manifest.patches is None and manifest.region == "faces:224"
    assert manifest.architecture == "resnet18_hidden12" and manifest.preprocessing == "raw"
    assert manifest.parameters == sum(x.numel() for x in model.parameters())


def test_a_model_file_that_differs_is_not_written(tmp_path: Path) -> None:
    model = lively()
    proto = graph_of(model, card(model), "it")  # type: ignore[arg-type]
    (bias,) = [x for x in proto.graph.initializer if x.name == "head.0.bias"]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.01, bias.name))
    with pytest.raises(ModelError, match="differs from the checkpoint"):
        prove(model, proto, shapes=SHAPES[:1])


def test_a_size_of_its_own_can_be_asked_for() -> None:
    model = lively()
    proto = graph_of(model, card(model), "it", (1, 224, 224))  # type: ignore[arg-type]
    prove(model, proto, static=(1, 224, 224))
    (value,) = [value for value in proto.graph.input if value.name == INPUT]
    assert [d.dim_value for d in value.type.tensor_type.shape.dim] == [1, 224, 224, 3]


def _checkpoint(folder: Path) -> Path:
    model = lively(12)
    save_checkpoint(folder / "faces.safetensors", model, card(model))  # type: ignore[arg-type]
    return folder / "faces.safetensors"


def test_the_command_writes_what_the_device_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = _checkpoint(tmp_path), tmp_path / "faces.onnx"
    assert (
        patchwatch.main(["export", str(path), "-o", str(output), "--precision", "fp32,fp16"]) == 0
    )
    assert "1080×1920" in capsys.readouterr().out
    frames = textured((2, 224, 224))
    with torch.no_grad():
        expected = NaiveWhole(lively(12))(torch.from_numpy(frames)).numpy()
    for file, bound in ((output, 1e-4), (tmp_path / "faces.fp16.onnx", 2e-2)):
        with open_backend(file) as backend:
            evidence = backend.infer(frames)
            assert backend.manifest.patches is None
        assert all(one.patch_logits is None for one in evidence)
        found = np.array([one.logit for one in evidence])
        assert found == pytest.approx(expected, abs=bound)


def test_a_size_that_is_too_small_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(_checkpoint(tmp_path)), "-o", str(tmp_path / "a.onnx")]
    assert patchwatch.main([*words, "--static", "1x16x224"]) == RegionError.exit_code
    assert "needs at least 32×32 pixels" in capsys.readouterr().err
    assert smallest_input(lively()) == 32
