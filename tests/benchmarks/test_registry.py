from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.registry import (
    FULL_S,
    QUICK_S,
    RENDERS,
    SECTIONS,
    load_render,
    load_section,
    make_plan,
)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_is_there_under_its_name(name: str) -> None:
    section = load_section(SECTIONS[name])
    assert section.name == name and section.title
    assert callable(load_render(RENDERS[name]))
    assert section.rows() == []
    assert section.steps(make_plan(True, (1, 2))) >= 1


def test_every_section_has_a_budget_and_they_keep_to_the_promise() -> None:
    assert set(FULL_S) == set(QUICK_S) == set(SECTIONS)
    assert sum(FULL_S.values()) < 600
    assert sum(QUICK_S.values()) < 60


def test_a_plan_is_quick_or_full() -> None:
    assert make_plan(True, (1,)).budget_s == QUICK_S
    assert make_plan(False, (2,)).budget_s == FULL_S
    assert make_plan(False, (2,)).threads == (2,)


def test_the_command_imports_neither_a_section_nor_torch() -> None:
    script = "import sys, benchmarks.command; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    sections = {entry.partition(":")[0] for entry in SECTIONS.values()}
    assert (sections | {"torch", "onnx", "onnxruntime", "matplotlib"}).isdisjoint(
        done.stdout.split()
    )


def test_drawing_imports_nothing_that_was_measured_with() -> None:
    script = "import sys\nfrom benchmarks.registry import RENDERS, load_render\n"
    script += "for module in RENDERS.values(): load_render(module)\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert {"torch", "onnx", "openvino", "ncnn"}.isdisjoint(done.stdout.split())
