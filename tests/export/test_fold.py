"""Folding changes the graph and none of its numbers, for every network and preprocessing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge.manifest import Manifest
from export import lint as lint_module
from export.compare import Judge, Row, textured
from export.fold import Unfolded, fold, folded_module, pack_inputs, pack_outputs
from export.graph import INPUT, manifest_in, to_onnx
from export.lint import lint
from export.model_file import graph_of, prove
from export.precision.half import to_half
from export.precision.variants import sign
from tests.export.models import lively, make_card, stir
from training.models import PREPROCESSINGS, Model, resnet18
from training.models.resnet18 import ResNet18

ODD_SIZES = ((1, 5, 5), (1, 6, 5), (1, 5, 8), (2, 23, 36), (1, 40, 31), (1, 33, 33), (1, 64, 66))


def worst(rows: list[Row]) -> float:
    return max(row.difference.scaled for row in rows)


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_tiny_folds_exactly_at_any_size(preprocessing: str) -> None:
    model = lively("tiny_ladeda", preprocessing)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    proto = to_onnx(folded_module(model))
    assert worst(prove(model, proto, ODD_SIZES)) < 1e-5
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    kinds = {node.op_type for node in proto.graph.node}
    assert not {"Shape", "Gather", "If", "Loop", "Pad"} & kinds


@pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [
        ("ladeda9", "NPR"),
        ("lite0_magnitudes_s16", "x_grad"),
        ("lite0_levels", "raw"),
        ("lite0_magnitudes_s16", "raw"),
    ],
)
def test_the_large_ones_fold_exactly_at_any_size(architecture: str, preprocessing: str) -> None:
    model = lively(architecture, preprocessing)
    proto = to_onnx(folded_module(model))
    least = model.smallest_input
    shapes = ((1, least, least), (1, least + 1, least + 4), (2, 77, 90))
    assert worst(prove(model, proto, shapes)) < 2e-5
    kinds = {node.op_type for node in proto.graph.node}
    assert not {"BatchNormalization", "Pad", "Shape", "Identity"} & kinds


@pytest.mark.parametrize("architecture", ["ladeda5", "ladeda33"])
def test_every_receptive_field_folds(architecture: str) -> None:
    model = lively(architecture, "left_diag")
    frames = torch.from_numpy(textured((1, 49, 58)))
    with torch.no_grad():
        pairs = zip(folded_module(model)(frames), Unfolded(model)(frames), strict=True)
        for found, expected in pairs:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_the_order_of_the_colours_is_bgr(preprocessing: str) -> None:
    model = lively("tiny_ladeda", preprocessing)
    frames = np.zeros((1, 9, 9, 3), np.uint8)
    frames[0, 4, 5, 0] = 250  # blue
    rgb = torch.zeros(1, 3, 9, 9)
    rgb[0, 2, 4, 5] = 250 / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model((rgb - mean[:, None, None]) / std[:, None, None])
        for module in (folded_module(model), Unfolded(model)):
            logit, _ = module(torch.from_numpy(frames))
            torch.testing.assert_close(logit, expected, rtol=1e-4, atol=1e-5)


def test_folding_is_worth_it() -> None:
    model = lively("tiny_ladeda", "left_diag")
    naive, folded = (to_onnx(module) for module in (Unfolded(model).eval(), folded_module(model)))
    assert [node.op_type for node in folded.graph.node] == [
        *("Cast", "Transpose", "Sub", "Conv", "Conv", "Relu", "Conv", "Relu", "Conv", "Relu"),
        *("Conv", "Constant", "Squeeze", "ReduceMean", "ReduceMean"),
    ]
    assert len(naive.graph.node) > len(folded.graph.node)
    assert list(naive.graph.input) == list(folded.graph.input)
    assert list(naive.graph.output) == list(folded.graph.output)
    assert worst(prove(model, naive, ODD_SIZES)) < 1e-5


@pytest.mark.parametrize("packing", [(1, 2), (2, 2)])
def test_a_packed_pair_of_convolutions_is_the_pair(packing: tuple[int, int]) -> None:
    first = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    second = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    x = torch.randn(1, 3, 12, 14, dtype=torch.float64)
    expected = nn.functional.conv2d(nn.functional.conv2d(x, first), second, stride=2)
    packed = nn.functional.conv2d(x, pack_outputs(first, packing), stride=packing)
    stride = (2 // packing[0], 2 // packing[1])
    found = nn.functional.conv2d(packed, pack_inputs(second, packing), stride=stride)
    torch.testing.assert_close(found, expected)


@pytest.fixture(params=[None, 12])
def whole(request: pytest.FixtureRequest) -> Iterator[ResNet18]:
    """A ResNet-18 with an eighth of the channels: sizes and borders are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet18, "PLANES", (8, 16, 32, 64))
        torch.manual_seed(3)
        model = ResNet18(0.5, request.param)
        stir(model)
        yield model.eval()


def test_a_resnet18_folds_exactly_at_any_size(whole: ResNet18) -> None:
    proto = to_onnx(folded_module(whole), patches=False)
    shapes = ((1, 224, 224), (1, 32, 32), (2, 49, 64), (1, 63, 131))
    assert worst(prove(whole, proto, shapes)) < 5e-6
    kinds = {node.op_type for node in proto.graph.node}
    assert not {"BatchNormalization", "Dropout", "Pad", "Shape", "Identity", "Div"} & kinds
    frames = torch.from_numpy(textured((1, 70, 81)))
    with torch.no_grad():
        folded = folded_module(whole)(frames)
        expected = Unfolded(whole.double()).double()(frames)
    # Rounding of weights is all that is left: about 1e-7 each.
    assert folded.item() == pytest.approx(expected.item(), rel=2e-6, abs=2e-6)


def test_a_resnet18_passes_the_lint_and_has_no_patches(whole: ResNet18) -> None:
    card = make_card(whole, region="faces:224")
    proto = graph_of(whole, card, "it", (1, 224, 224))
    prove(whole, proto, [(1, 224, 224)])
    assert [value.name for value in proto.graph.output] == ["logit"]
    manifest = manifest_in(proto, "it")
    assert manifest.patches is None and manifest.region == "faces:224"
    assert manifest.architecture == whole.architecture and manifest.preprocessing == "raw"
    assert manifest.parameters == sum(x.numel() for x in whole.parameters())
    (value,) = [value for value in proto.graph.input if value.name == INPUT]
    assert [d.dim_value for d in value.type.tensor_type.shape.dim] == [1, 224, 224, 3]


class TinyTransformer(Model):
    """Patches of 8×8, one block of attention, and a head: a new architecture in one class."""

    SIDE, PATCH, WIDTH = 32, 8, 16

    def __init__(self) -> None:
        super().__init__("tiny_vit", "raw", self.SIDE, fixed_input=(self.SIDE, self.SIDE))
        self.embed = nn.Conv2d(3, self.WIDTH, self.PATCH, self.PATCH)
        self.place = nn.Parameter(torch.randn(1, (self.SIDE // self.PATCH) ** 2, self.WIDTH))
        self.norm = nn.LayerNorm(self.WIDTH)
        self.query, self.key, self.value = (nn.Linear(self.WIDTH, self.WIDTH) for _ in range(3))
        self.mix = nn.Sequential(nn.Linear(self.WIDTH, 32), nn.GELU(), nn.Linear(32, self.WIDTH))
        self.fc = nn.Linear(self.WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.place
        y = self.norm(tokens)
        weights = self.query(y) @ self.key(y).transpose(1, 2) / self.WIDTH**0.5
        tokens = tokens + weights.softmax(-1) @ self.value(y)
        logit: Tensor = self.fc((tokens + self.mix(tokens)).mean(1))
        return logit.squeeze(1)


def test_a_transformer_is_exported_by_its_file_and_the_operators_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(5)
    model = TinyTransformer().eval()
    needed = {"LayerNormalization", "Softmax", "Erf"}
    assert fold.dispatch(TinyTransformer) is fold.dispatch(Model)
    with pytest.raises(Exception, match="is not read by every TensorRT"):
        graph_of(model, make_card(model), "vit")
    monkeypatch.setattr(lint_module, "OPERATORS", lint_module.OPERATORS | needed)
    proto = graph_of(model, make_card(model), "vit")
    assert [row.where for row in prove(model, proto)] == ["32×32"]
    manifest: Manifest = manifest_in(proto, "vit")
    assert (manifest.architecture, manifest.patches) == ("tiny_vit", None)
    half = to_half(proto)
    sign(half, "fp16")
    assert lint(half) == []
    frames = textured((1, 32, 32))
    found, expected = (Judge(graph).evidence(frames)[0] for graph in (half, proto))
    assert 0 < abs(float(found[0] - expected[0])) < 0.05
