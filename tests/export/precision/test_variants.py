"""A set of files from one graph: what is read, made, checked and refused."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from rich.console import Console
from rich.table import Table

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.errors import ContractError, ManifestError, ModelError, SourceError, UsageError
from edge.manifest import Figure, parse_manifest
from edge.tensorrt.record import PRECISIONS
from export import auc, compare
from export.auc import Loss
from export.graph import embed, manifest_in
from export.precision.variants import (
    TWIN,
    Wanted,
    Watch,
    loss_table,
    make_variants,
    read_model_file,
    sign,
)
from tests.export.models import lively_graph
from tests.export.test_auc import fill


class Watcher(Watch):
    """Keeps what it shows."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[Table] = []
        Watch.__init__(self, self.said.append, self.shown.append)


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "shapes_from", lambda least: ((1, 24, 24),))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    names = {f"0_real/camera/{i}.png": 40 + i for i in range(3)}
    return fill(tmp_path / "data", names | {f"1_fake/gan/{i}.png": 90 + i for i in range(3)})


def test_all_three_are_made_and_run_on_the_device(tmp_path: Path, labelled: Path) -> None:
    model, watch = lively_graph(), Watcher()
    manifest = manifest_in(model, "it")
    figure = Figure(data="d", metric="auc", value=0.5)
    embed(model, manifest.model_copy(update={"validation": (figure,)}))
    made = make_variants(model, Wanted(PRECISIONS, labelled, labelled), watch)
    assert list(made) == ["fp32", "fp16", "int8", TWIN]
    assert made["fp32"] == model.SerializeToString()
    for name, data in made.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        with OnnxRuntimeBackend(path) as backend:
            assert backend.manifest.precision == name.removesuffix(".fp16")
            assert (backend.manifest.validation == (figure,)) == (name == "fp32")
            assert backend.manifest.calibration == manifest.calibration
            backend.infer(compare.textured((1, 32, 32)))
    assert len(watch.shown) == 6
    assert "calibrating int8, picture 6 of 6" in watch.said
    assert "fp16: comparing on 6 pictures" in watch.said
    assert "int8: judging picture 6 of 6" in watch.said


def test_int8_without_pictures_says_what_to_give_and_half_needs_none(labelled: Path) -> None:
    assert list(make_variants(lively_graph(), Wanted(("fp16",)), Watcher())) == ["fp16"]
    with pytest.raises(UsageError, match="give a folder with a hundred or more as --calibration"):
        make_variants(lively_graph(), Wanted(("int8",), labelled=labelled), Watcher())
    empty = labelled / "none"
    empty.mkdir()
    with pytest.raises(SourceError, match="expected pictures, found none"):
        make_variants(lively_graph(), Wanted(("int8",), empty), Watcher())


def test_what_costs_too_much_is_refused(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def costly(*_: object, **__: object) -> Loss:
        return Loss({"gan": 0.9}, {"gan": 0.89}, {"camera": 3}, {"gan": 3}, 0.9)

    monkeypatch.setattr(auc, "compare", costly)
    watch = Watcher()
    with pytest.raises(ModelError, match=r"^int8: .* falls from 0\.9000 to 0\.8900"):
        make_variants(lively_graph(), Wanted(("int8",), labelled, labelled), watch)
    assert len(watch.shown) == 2
    make_variants(lively_graph(), Wanted(("int8",), labelled), watch)


def test_what_is_too_far_is_shown_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "BOUNDS", {"fp32": 0.0, "fp16": 0.0, "int8": 0.0})
    watch = Watcher()
    with pytest.raises(ModelError, match="fp16 differs from the float32 file"):
        make_variants(lively_graph(), Wanted(("fp16",)), watch)
    assert len(watch.shown) == 1


def test_a_model_file_is_read_as_a_source(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = lively_graph("tiny_ladeda", "NPR")
    for node in model.graph.node:  # as files of before were
        node.name = node.name.replace("/pixels/Conv", "/blocks/Conv")
    onnx.save_model(model, str(path))
    names = [node.name for node in read_model_file(path).graph.node]
    assert "/pixels/blocks/Conv" in names and "/blocks/Conv" not in names


def test_what_is_no_source(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read: No such file"):
        read_model_file(path)
    path.write_bytes(b"\x08no graph")
    with pytest.raises(ModelError, match="is no ONNX file"):
        read_model_file(path)
    model = lively_graph()
    sign(model, "int8")
    onnx.save_model(model, str(path))
    with pytest.raises(UsageError, match="is of int8"):
        read_model_file(path)
    model = lively_graph()
    model.opset_import[0].version = 18
    onnx.save_model(model, str(path))
    with pytest.raises(ContractError, match="expected opset 17"):
        read_model_file(path)
    del model.metadata_props[:]
    onnx.save_model(model, str(path))
    with pytest.raises(ManifestError, match="expected one manifest"):
        read_model_file(path)


def test_a_manifest_of_before_is_of_float32() -> None:
    text = manifest_in(lively_graph(), "it").to_json()
    assert '"precision":"fp32",' in text
    before = text.replace('"precision":"fp32",', "")
    assert parse_manifest(before, "it").precision == "fp32"
    with pytest.raises(ManifestError, match="precision"):
        parse_manifest(text.replace('"precision":"fp32"', '"precision":"fp8"'), "it")


def test_the_table_of_the_loss() -> None:
    loss = Loss({"a": 0.9, "b": 0.8}, {"a": 0.91, "b": 0.78}, {"c": 7}, {"a": 4, "b": 5}, 0.875)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(loss_table(loss, "int8"))
    said = capture.get()
    assert "AUC int8" in said and "-0.0100" in said and "+0.0200" in said
    mean = next(line for line in said.splitlines() if "mean" in line and "│" in line)
    assert "9" in mean and "0.8500" in mean and "0.8450" in mean and "+0.0050" in mean
    assert "87.5 %" in said
