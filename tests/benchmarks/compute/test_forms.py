"""The three forms of a model against each other, and against arithmetic done by hand."""

from __future__ import annotations

import onnx
import pytest

from benchmarks.compute.forms import counts, per_layer
from benchmarks.compute.names import FORMS, LITE, STUDENT, Form
from benchmarks.compute.onnx_counter import count_graph
from edge.weights import DEFAULT, TINY, find_model
from export.fold import Unfolded
from export.graph import INPUT, to_onnx
from tests.export.models import lively

HW = (256, 256)
# Places of the maps of Tiny-LaDeDa at 256²: pixels, after the 3×3, after the strided 3×3.
PIXELS, WIDE, PATCHES = 256 * 256, 254 * 254, 126 * 126


def macs(architecture: str, preprocessing: str, form: Form) -> int:
    return next(counts(architecture, preprocessing, form, [HW])).macs


def test_tiny_as_published() -> None:
    raw = PIXELS * 3 * 8 + WIDE * (8 * 8 * 9 + 8 * 8) + PATCHES * (8 * 8 * 9 + 8)
    assert macs("tiny_ladeda", "raw", "naive") == raw
    assert macs("tiny_ladeda", "NPR", "naive") == raw
    assert macs("tiny_ladeda", "x_grad", "naive") == raw + PIXELS * 3 * 9
    assert per_layer("tiny_ladeda", "raw", "naive", *HW).parameters == 1297


def test_tiny_once_folded() -> None:
    raw = WIDE * (3 * 8 * 9 + 8 * 8) + PATCHES * (8 * 8 * 9 + 8)
    assert macs("tiny_ladeda", "raw", "plain") == raw
    assert macs("tiny_ladeda", "x_grad", "plain") == raw + PIXELS * 3 * 9


def test_tiny_as_it_is_executed() -> None:
    # Pairs of columns: a 3×4 kernel gives 16 channels on half the places; 16 → 16 in the 1×1 and
    # in a 3×2 kernel; the head reads 16 channels.
    pairs = WIDE // 2 * (16 * 3 * 12 + 16 * 16) + PATCHES * (16 * 16 * 6 + 16)
    executed = macs("tiny_ladeda", "x_grad", "folded")
    assert executed == PIXELS * 3 * 9 + pairs
    naive = macs("tiny_ladeda", "x_grad", "naive")
    assert macs("tiny_ladeda", "x_grad", "plain") < executed < naive


@pytest.mark.parametrize(
    ("name", "architecture", "preprocessing"),
    [(TINY, STUDENT, "x_grad"), (DEFAULT, LITE, "raw")],
)
def test_the_shipped_file_costs_what_is_said_of_it(
    name: str, architecture: str, preprocessing: str
) -> None:
    shipped = onnx.load(str(find_model(name)))
    count = count_graph(shipped, {INPUT: (1, *HW, 3)})
    said = per_layer(architecture, preprocessing, "folded", *HW)
    figures = (said.parameters, said.macs, said.traffic_bytes)
    assert (count.parameters, count.macs, count.traffic_bytes) == figures


def test_packing_of_npr_executes_more_than_was_published() -> None:
    assert macs("tiny_ladeda", "NPR", "folded") > macs("tiny_ladeda", "NPR", "naive")


def test_ladeda_executes_its_algorithm() -> None:
    sizes = [(64, 64), (65, 83)]
    naive, plain, folded = (list(counts("ladeda9", "x_grad", form, sizes)) for form in FORMS)
    assert [count.macs for count in folded] == [count.macs for count in plain]
    assert [count.traffic_bytes for count in folded] == [count.traffic_bytes for count in plain]
    for before, after in zip(naive, plain, strict=True):
        assert after.macs < before.macs and after.traffic_bytes < before.traffic_bytes
    mean_and_kernel = 3 + 27
    assert folded[0].parameters == plain[0].parameters + mean_and_kernel
    assert naive[0].parameters == 13_641_793


@pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [("tiny_ladeda", "raw"), ("tiny_ladeda", "x_grad"), ("tiny_ladeda", "NPR"), ("ladeda9", "NPR")],
)
def test_the_unfolded_onnx_graph_has_the_macs_of_torch(
    architecture: str, preprocessing: str
) -> None:
    proto = to_onnx(Unfolded(lively(architecture, preprocessing)).eval())
    sizes = [(64, 64), (77, 90)]
    in_torch = counts(architecture, preprocessing, "naive", sizes)
    for (height, width), count in zip(sizes, in_torch, strict=True):
        assert count_graph(proto, {INPUT: (1, height, width, 3)}).macs == count.macs > 0


@pytest.mark.parametrize("architecture", ["lite0_s16", "lite0_levels"])
def test_a_composed_model_executes_its_algorithm(architecture: str) -> None:
    naive, plain, folded = (per_layer(architecture, "raw", form, 64, 80) for form in FORMS)
    assert naive.macs == plain.macs == folded.macs > 0
    assert folded.traffic_bytes < naive.traffic_bytes


def test_1080p_is_counted_without_memory_for_it() -> None:
    count = per_layer("ladeda9", "x_grad", "naive", 1080, 1920)
    largest = max(array.bytes for op in count.operators for array in op.outputs)
    assert largest > 500e6  # each of these maps would be real memory if it were run
    assert count.macs == pytest.approx(692.4e9, rel=1e-3)


def test_layers_carry_the_names_of_the_model() -> None:
    count = per_layer("tiny_ladeda", "x_grad", "naive", 64, 64)
    layers = {op.layer for op in count.operators if op.macs}
    assert layers == {
        "",
        "model.preprocess",
        "model.conv1",
        "model.conv2",
        "model.layer1.0.conv1",
        "model.layer1.0.conv2",
    }
