"""Peers: other runtimes give the same logit, ResNet-50 is the published one, the report."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch

from benchmarks import peers
from benchmarks.latency.names import FOLDED, NAIVE
from benchmarks.latency.runners import AbsentRuntime
from benchmarks.latency.subjects import Subject, shipped_subject
from benchmarks.ncnn_graph import NotConvertible, write_ncnn
from benchmarks.peers import (
    RESNET_RUNTIMES,
    RUNTIMES,
    PeersSection,
    open_ncnn,
    resnet_subject,
    with_rate,
)
from benchmarks.peers_report import render
from benchmarks.resnet50 import INPUT_HW, ResNet50
from benchmarks.section import Plan, Section
from edge.weights import TINY, find_model
from export.compare import textured
from export.fold import Unfolded, folded_module
from export.graph import to_onnx
from export.model_file import BOUND
from tests.export.models import lively

PLAN = Plan(quick=True, threads=(1,), budget_s={"peers": 0.1})
PEERS = {runtime.name: runtime for runtime in RUNTIMES}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shipped() -> Subject:
    return shipped_subject(find_model(TINY))


@pytest.mark.parametrize("library", ["openvino", "ncnn"])
def test_another_runtime_gives_the_logit_of_torch(library: str, shipped: Subject) -> None:
    pytest.importorskip(library)
    names = {"openvino": "OpenVINO, folded graph", "ncnn": "ncnn, folded graph"}
    runner = PEERS[names[library]].open(shipped, (101, 120), 1)
    logit = runner.run(textured((1, 101, 120)))
    assert logit == pytest.approx(shipped.reference_logit((101, 120)), abs=BOUND)
    assert not runner.device_ms()


def test_openvino_reads_the_naive_graph_too(shipped: Subject) -> None:
    pytest.importorskip("openvino")
    runner = PEERS["OpenVINO, naive graph"].open(shipped, (64, 70), 1)
    reference = shipped.reference_logit((64, 70))
    assert runner.run(textured((1, 64, 70))) == pytest.approx(reference, abs=BOUND)


def test_ncnn_takes_each_packing(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    for preprocessing in ("raw", "NPR"):
        model = lively("tiny_ladeda", preprocessing)
        path = tmp_path / f"{preprocessing}.onnx"
        onnx.save_model(to_onnx(folded_module(model)), str(path))
        subject = Subject("s", peers_naive(model), b"", path, None)
        logit = open_ncnn(subject, (65, 70), 1).run(textured((1, 65, 70)))
        assert logit == pytest.approx(subject.reference_logit((65, 70)), abs=BOUND)


def peers_naive(model: object) -> torch.nn.Module:
    from training.models import PatchModel

    assert isinstance(model, PatchModel)
    return Unfolded(model).eval()


def test_what_ncnn_cannot_be_given_is_said(tmp_path: Path) -> None:
    proto = to_onnx(folded_module(lively("ladeda9", "raw")))
    with pytest.raises(NotConvertible, match=r"the graph has a Slice, which is not converted"):
        write_ncnn(proto, tmp_path / "p", tmp_path / "b")


@pytest.mark.parametrize(("library", "count"), [("openvino", 3), ("ncnn", 1)])
def test_an_absent_library_is_named_with_its_command(
    library: str, count: int, monkeypatch: pytest.MonkeyPatch, shipped: Subject
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    of_library = [r for r in RUNTIMES if r.name.lower().startswith(library)]
    assert len(of_library) == count
    for runtime in of_library:
        with pytest.raises(AbsentRuntime, match=rf"^{library} is not .* pip install {library}$"):
            runtime.open(shipped, (64, 64), 1)


def test_resnet50_has_the_published_number_of_weights() -> None:
    model = ResNet50()
    assert sum(weight.numel() for weight in model.parameters()) == 25_557_032
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, 64, 96)).shape == (2, 1000)


def test_peers_of_one_size_are_in_one_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "QUICK_SIZES", (INPUT_HW, (40, 48)))
    section: Section = PeersSection()
    ticks: list[str] = []
    section.measure(PLAN, ticks.append)
    assert len(ticks) == section.steps(PLAN)
    rows = section.rows()
    assert json.loads(json.dumps(rows)) == rows
    measured = [row for row in rows if "missing" not in row]
    resnet = [row for row in measured if row["model"] == peers.RESNET]
    assert {row["runtime"] for row in resnet} <= {runtime.name for runtime in RESNET_RUNTIMES}
    assert {str(row["size"]) for row in resnet} == {"[224, 224]"}
    assert all(isinstance(row["ratio_to_naive"], float) for row in measured)
    bases = [row["ratio_to_naive"] for row in measured if row["runtime"] == NAIVE]
    assert bases == [1.0, 1.0]
    assert {FOLDED, "torch eager"} <= {row["runtime"] for row in measured}


def test_resnet_agrees_with_torch() -> None:
    subject = resnet_subject(seed=1)
    runner = RESNET_RUNTIMES[0].open(subject, INPUT_HW, 1)
    reference = subject.reference_logit(INPUT_HW)
    assert runner.run(textured((1, *INPUT_HW))) == pytest.approx(reference, abs=2e-3)


def test_the_rate_is_the_inverse_of_the_median() -> None:
    assert with_rate({"p50_ms": 4.0})["frames_per_s_at_p50"] == 250
    assert with_rate({"missing": "x"}) == {"missing": "x"}


def test_the_report_shows_rates_and_draws_each_size() -> None:
    times = {f"{name}_ms": 8.0 for name in ("p50", "p90", "p95", "p99", "max")}
    rows = [
        with_rate(
            {
                "runtime": "OpenVINO",
                "model": model,
                "size": [224, 224],
                "threads": 1,
                **times,
                "samples": 3,
                "ratio_to_naive": None,
                "timed": "host",
                "max_abs_logit_difference": 0.0,
                "validation_auc": None,
            }
        )
        for model in ("tiny-ladeda", peers.RESNET)
    ]
    rendered = render([*rows, {"runtime": "ncnn", "missing": "ncnn is not installed."}])
    assert "frames/s" in rendered.markdown and "125 |" in rendered.markdown
    assert "- ncnn: ncnn is not installed." in rendered.markdown
    assert list(rendered.figures) == ["peers_224x224"]
    figure = rendered.figures["peers_224x224"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == [f"{peers.RESNET}\nOpenVINO", "tiny-ladeda\nOpenVINO"]
    figure.savefig(io.BytesIO(), format="png")
