"""Latency: rows of every runtime, ratios of rounds, the shipped model in torch, the report."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import pytest
import torch

from benchmarks.latency import runners
from benchmarks.latency import section as section_module
from benchmarks.latency.names import FOLDED, NAIVE
from benchmarks.latency.report import render
from benchmarks.latency.rounds import Group, ratio_of_rounds, run_passes
from benchmarks.latency.runners import (
    HOST_ONLY,
    RUNTIMES,
    AbsentRuntime,
    EngineRunner,
    Runtime,
    open_compiled,
    open_engine,
    open_naive,
)
from benchmarks.latency.section import LatencySection
from benchmarks.latency.subjects import (
    Subject,
    fresh_subject,
    shipped_subject,
    validation_auc,
)
from benchmarks.latency.unfold import unfolded
from benchmarks.section import Plan, Row, Section
from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.errors import ModelError
from edge.types import Batch
from edge.weights import DEFAULT, TINY, find_model
from export.compare import textured
from export.fold import Unfolded, folded_module
from export.graph import to_onnx
from export.model_file import BOUND, manifest_of
from tests.build_here import BuildHere
from tests.export.models import lively, make_card
from tests.fake_tensorrt import installed
from tests.software_cuda import SoftwareGpu
from tests.software_cuda.fixtures import software_cuda as software_cuda
from tests.software_cuda.fixtures import software_gpu as software_gpu

PLAN = Plan(quick=True, threads=(1,), budget_s={"latency": 0.5})
FIGURES = {"p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "samples", "samples_ms", "timed"}
DEFAULT_HW = (64, 70)
QUICK_TO_OPEN = [runtime for runtime in RUNTIMES if not runtime.slow_to_open]
HERE = {"torch eager", NAIVE, FOLDED, "Patchwatch's backend, folded graph"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small frames in place of the real sizes, which take seconds."""
    monkeypatch.setattr(section_module, "QUICK_SIZES", ((40, 50), (64, 64)))
    monkeypatch.setattr(section_module, "SIZES", ((40, 50),))
    monkeypatch.setattr(section_module, "TEACHER_SIZES", ((32, 32),))
    monkeypatch.setattr(section_module, "default_hw", lambda default: DEFAULT_HW)


@pytest.fixture(scope="module")
def shipped() -> Subject:
    return shipped_subject(find_model(TINY))


class Recorder:
    """A runner that notes its turns and may be slow."""

    def __init__(self, name: str, turns: list[str], seconds: float = 0.0) -> None:
        self.name, self.turns, self.seconds = name, turns, seconds

    def prepare(self) -> None:
        pass

    def run(self, frames: Batch) -> float:
        time.sleep(self.seconds)
        self.turns.append(self.name)
        return 0.0

    def device_ms(self) -> Mapping[str, float]:
        return {"copy": 0.25, "kernel": 1.5} if self.name == "device" else HOST_ONLY


def group_of(subject: Subject, turns: list[str], *names: str, hw: tuple[int, int]) -> Group:
    group = Group.of(hw, 1, names[0])
    for name in names:
        runtime = Runtime(name, lambda s, hw, t, name=name: Recorder(name, turns))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        group.open(runtime, subject, 0.0)
    turns.clear()
    return group


@pytest.mark.usefixtures("small")
def test_each_runtime_has_a_row_at_each_size() -> None:
    section: Section = LatencySection()
    ticks: list[str] = []
    section.measure(PLAN, ticks.append)
    assert len(ticks) == section.steps(PLAN)
    rows = section.rows()
    assert json.loads(json.dumps(rows)) == rows
    assert {(row["runtime"], str(row["size"])) for row in rows} == {
        *((runtime.name, size) for runtime in RUNTIMES for size in ("[40, 50]", "[64, 64]")),
        *((runtime.name, "[64, 70]") for runtime in QUICK_TO_OPEN),
    }
    measured = [row for row in rows if "missing" not in row]
    assert {row["runtime"] for row in measured} >= HERE
    assert all(row.keys() >= FIGURES for row in measured)


@pytest.mark.usefixtures("small")
def test_every_row_says_how_far_it_is_from_torch_and_how_good_the_model_is() -> None:
    section = LatencySection()
    section.measure(PLAN, lambda told: None)
    measured = [row for row in section.rows() if "missing" not in row]
    for name in (DEFAULT, TINY):
        with OnnxRuntimeBackend(find_model(name)) as backend:
            auc = validation_auc(backend.manifest)
        rows = [row for row in measured if row["model"] == name]
        assert {row["validation_auc"] for row in rows} == {auc}
        differences = [row["max_abs_logit_difference"] for row in rows]
        # The logits of the default model are about ten times as large.
        bound = BOUND if name == TINY else 10 * BOUND
        assert all(isinstance(value, float) and value < bound for value in differences)
        assert any(differences)


@pytest.mark.usefixtures("small")
def test_a_full_run_times_the_teacher_too_and_leaves_the_threads_alone() -> None:
    chosen = [runtime for runtime in RUNTIMES if runtime.name in HERE]
    section = LatencySection(chosen)
    torch.set_num_threads(2)
    section.measure(Plan(False, (1,), {"latency": 0.0}), lambda told: None)
    assert torch.get_num_threads() == 2
    rows = section.rows()
    assert {row["model"] for row in rows} == {DEFAULT, TINY, "ladeda9"}
    teacher = [row for row in rows if row["model"] == "ladeda9"]
    assert {row["runtime"] for row in teacher} == HERE
    assert all(row["validation_auc"] is None for row in teacher)
    # Even without any time left, every pass makes one round.
    assert all(row["samples"] == 5 for row in rows)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("after", [1, len(RUNTIMES) * 2 + len(QUICK_TO_OPEN) + 1])
def test_an_interrupt_keeps_what_was_measured(after: int) -> None:
    section = LatencySection()
    ticks: list[str] = []

    def tick(told: str) -> None:
        ticks.append(told)
        if len(ticks) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        section.measure(PLAN, tick)
    measured = [row for row in section.rows() if "missing" not in row]
    sizes = {str(row["size"]) for row in measured}
    assert len(sizes) == (0 if after == 1 else 1)


def test_an_engine_is_timed_where_a_gpu_can_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shipped: Subject, software_gpu: SoftwareGpu
) -> None:
    monkeypatch.setenv("PATCHWATCH_ENGINES", str(tmp_path))
    monkeypatch.setattr(runners, "build_engine", BuildHere())
    with installed("10.3.0"):
        runner = open_engine("fp32")(shipped, (40, 50), 1)
        logit = runner.run(textured((1, 40, 50)))
        assert logit == pytest.approx(shipped.reference_logit((40, 50)), abs=1e-4)
        assert set(runner.device_ms()) == {"copy", "kernel"}
        assert isinstance(runner, EngineRunner)
        runner.close()


def test_an_engine_that_cannot_be_is_a_row_that_says_so(shipped: Subject) -> None:
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed")
    with pytest.raises(AbsentRuntime, match=r"TensorRT .* is needed to run an engine"):
        open_engine("fp16")(shipped, (40, 50), 1)


def test_compiling_that_fails_is_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch, shipped: Subject
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(AbsentRuntime, match=r"torch.compile failed \(no C\+\+ compiler\)"):
        open_compiled(shipped, (40, 50), 1)


def test_the_ratio_is_that_of_the_same_round() -> None:
    # A machine that drifts tenfold: medians of the two would say 1, and of pairs say 2.
    base = {index: float(10**index) for index in range(3)}
    own = {index: 2 * value for index, value in base.items()}
    assert ratio_of_rounds(own, base, seed=0) == (2.0, 2.0, 2.0)
    assert ratio_of_rounds({0: 3.0, 1: 5.0, 2: 9.0}, {0: 1.0, 1: 1.0}, seed=0)[0] == 4.0
    assert ratio_of_rounds({5: 1.0}, base, seed=0) == (None, None, None)


def test_a_round_has_every_candidate_once_in_an_order_of_its_own(shipped: Subject) -> None:
    turns: list[str] = []
    names = ("a", "b", "c", "d")
    group = group_of(shipped, turns, *names, hw=(8, 8))
    group.run(12, random.Random(1))
    rounds = [tuple(turns[start : start + 4]) for start in range(0, 48, 4)]
    assert all(sorted(one) == list(names) for one in rounds)
    assert len(set(rounds)) > 3
    again: list[str] = []
    group_of(shipped, again, *names, hw=(8, 8)).run(12, random.Random(1))
    assert again == turns  # the seed fixes the order


def test_no_sample_is_removed(shipped: Subject) -> None:
    group = group_of(shipped, [], "a", hw=(8, 8))
    slow = group.candidates[0].runner
    assert isinstance(slow, Recorder)
    group.run(3, random.Random(0))
    slow.seconds = 0.05
    group.run(1, random.Random(0))
    row = group.rows(seed=0)[0]
    assert row["samples"] == 4
    assert isinstance(row["max_ms"], float) and row["max_ms"] >= 50


def test_groups_share_the_time_that_is_left(shipped: Subject) -> None:
    groups = [group_of(shipped, [], "a", hw=(8, side)) for side in (8, 16)]
    slow = groups[0].candidates[0].runner
    assert isinstance(slow, Recorder)
    slow.seconds = 0.05
    ran: list[Group] = []
    run_passes(groups, time.perf_counter() + 0.5, 2, 0, ran.append)
    assert ran == [*ran[:2], *ran[:2]]
    assert 2 <= groups[0].rounds < groups[1].rounds


def test_times_on_a_device_are_told_apart(shipped: Subject) -> None:
    group = group_of(shipped, [], "host", "device", hw=(8, 8))
    group.run(3, random.Random(0))
    host, device = group.rows(seed=0)
    assert (host["timed"], host["copy_p50_ms"]) == ("host", None)
    assert device["timed"] == "host, copy, kernel"
    assert (device["copy_p50_ms"], device["kernel_p50_ms"]) == (0.25, 1.5)
    assert "0.250 + 1.50" in render([host, device]).markdown


@pytest.mark.parametrize("preprocessing", ["raw", "NPR", "x_grad", "left_diag"])
def test_the_shipped_form_unfolds_into_the_same_model(preprocessing: str) -> None:
    model = lively("tiny_ladeda", preprocessing)
    manifest = manifest_of(model, make_card(model))
    again = unfolded(to_onnx(folded_module(model)), manifest, "m.onnx")
    frames = torch.from_numpy(textured((1, 41, 54)))
    with torch.no_grad():
        expected, found = (Unfolded(m).eval()(frames)[1] for m in (model, again))
    assert torch.allclose(expected, found, atol=1e-5)
    assert expected.std() > 1e-3


def test_the_default_model_unfolds_into_the_same_model() -> None:
    subject = shipped_subject(find_model(DEFAULT))
    assert subject.region_hw == (512, 512)
    frames = torch.from_numpy(textured((1, 96, 128)))
    with torch.no_grad(), OnnxRuntimeBackend(find_model(DEFAULT), 1) as backend:
        logit, patches = subject.module(frames)
        (found,) = backend.infer(frames.numpy())
    assert float(logit[0]) == pytest.approx(found.logit, rel=1e-4, abs=1e-3)
    assert torch.allclose(patches[0], torch.from_numpy(found.patch_logits), rtol=1e-4, atol=1e-3)
    assert patches.std() > 1e-3


@pytest.mark.parametrize("architecture", ["ladeda9", "ladeda5"])
def test_a_graph_of_another_layout_is_refused(architecture: str) -> None:
    model = lively(architecture, "raw")
    proto = to_onnx(folded_module(model))
    with pytest.raises(ModelError, match=r"x\.onnx: expected a folded Tiny-LaDeDa"):
        unfolded(proto, manifest_of(model, make_card(model)), "x.onnx")


def test_files_that_are_no_model_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(ModelError, match=r"expected an ONNX model"):
        shipped_subject(text)
    model = lively("tiny_ladeda", "raw")
    onnx.save_model(to_onnx(folded_module(model)), str(text))
    with pytest.raises(ModelError, match=r"carries no patchwatch manifest"):
        shipped_subject(text)


def test_a_fresh_subject_has_one_set_of_weights_in_all_forms(tmp_path: Path) -> None:
    subject = fresh_subject("ladeda9", "x_grad", 4, tmp_path)
    assert subject.folded_file is not None
    frames = textured((1, 40, 44))
    reference = subject.reference_logit((40, 44))
    assert 1e-3 < abs(reference) < 100
    with OnnxRuntimeBackend(subject.folded_file, 1) as backend:
        assert backend.infer(frames)[0].logit == pytest.approx(reference, abs=1e-3)
    naive = open_naive(subject, (40, 44), 1)
    assert naive.run(frames) == pytest.approx(reference, abs=1e-3)


def row(runtime: str, hw: tuple[int, int], ratio: float, **changes: object) -> Row:
    times = {f"{name}_ms": 10 * ratio for name in ("p50", "p90", "p95", "p99", "max")}
    return {
        "runtime": runtime,
        "model": "tiny-ladeda",
        "size": list(hw),
        "threads": 2,
        **times,
        "samples": 7,
        "ratio_to_naive": ratio,
        "ratio_to_naive_low": ratio * 0.9,
        "ratio_to_naive_high": ratio * 1.1,
        "timed": "host",
        "max_abs_logit_difference": 3.8e-7,
        "validation_auc": 0.69,
        **changes,
    }


def test_the_report_says_whether_the_promises_hold() -> None:
    rows = [
        row(NAIVE, (256, 256), 1.0),
        row(FOLDED, (256, 256), 0.5),
        row(NAIVE, (1080, 1920), 1.0),
        row(FOLDED, (1080, 1920), 0.8),
        row(FOLDED, (720, 1280), 0.9),
    ]
    lines = [line for line in render(rows).markdown.splitlines() if "promised" in line]
    assert len(lines) == 2
    assert "256×256, 2 threads: 2.00× as fast (95 % interval 1.82 to 2.22)" in lines[0]
    assert lines[0].endswith("at least 1.3× is promised: holds.")
    assert "1080×1920, 2 threads: 1.25× as fast" in lines[1]
    assert lines[1].endswith("at least 2× is promised: **does not hold**.")


def test_the_report_has_a_table_for_each_size_and_says_what_is_missing() -> None:
    absent = {"model": "tiny-ladeda", "size": [256, 256], "threads": 2}
    rows: list[Row] = [
        row(NAIVE, (256, 256), 1.0),
        row(NAIVE, (64, 64), 1.0),
        {"runtime": "CUDA", **absent, "missing": "no GPU."},
        {"runtime": "CUDA", **absent, "size": [64, 64], "missing": "no GPU."},
        {"runtime": NAIVE, **absent, "threads": 1, "missing": "out of time."},
        {"missing": "failed: of itself"},
    ]
    text = render(rows).markdown
    assert text.index("### 64×64") < text.index("### 256×256")
    assert text.count("- CUDA: no GPU.") == 1
    assert f"- {NAIVE}: out of time. Here: tiny-ladeda at 256×256 with 1 thread." in text
    assert "- failed: of itself" in text
    assert "| host only" in text and "3.8e-07" in text and "0.690" in text


def test_bars_are_drawn_of_the_sizes_that_were_measured() -> None:
    rows = [
        row(runtime, (256, 256), ratio, threads=threads)
        for runtime, ratio in ((NAIVE, 1.0), (FOLDED, 0.5))
        for threads in (1, 2)
    ]
    figures = render(rows).figures
    assert list(figures) == ["latency_256x256"]
    axes = figures["latency_256x256"].axes[0]
    assert axes.get_xlabel() == "time of one frame, ms"
    assert [label.get_text() for label in axes.get_yticklabels()] == [FOLDED, NAIVE]
    assert sorted(bar.get_width() for bar in axes.patches) == [5.0, 5.0, 10.0, 10.0]  # type: ignore[attr-defined]  # bars are rectangles
    figures["latency_256x256"].savefig(io.BytesIO(), format="png")


def test_one_long_whisker_does_not_flatten_the_bars() -> None:
    rows = [row(NAIVE, (256, 256), 1.0), row(FOLDED, (256, 256), 0.5, p95_ms=400.0)]
    axes = render(rows).figures["latency_256x256"].axes[0]
    assert axes.get_xlim()[1] < 20
    assert [text.get_text() for text in axes.texts] == ["10.0 ms", "5.00 ms (p95 400 ms)"]


def test_no_rows_give_a_report_without_plots() -> None:
    assert render([]).figures == {}
