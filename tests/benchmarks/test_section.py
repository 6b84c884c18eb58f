from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.section import FULL_S, QUICK_S, SECTIONS, load_render, load_section, make_plan


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_is_there_under_its_name(name: str) -> None:
    section = load_section(SECTIONS[name])
    assert section.name == name and section.title
    assert callable(load_render(SECTIONS[name]))
    assert section.rows() == []


def test_every_section_has_a_budget_and_they_keep_to_the_promise() -> None:
    assert set(FULL_S) == set(QUICK_S) == set(SECTIONS)
    assert sum(FULL_S.values()) < 600 and sum(QUICK_S.values()) < 60
    assert make_plan(True, (1,)).budget_s == QUICK_S
    assert make_plan(False, (2,)).budget_s == FULL_S


def imported_by(script: str) -> set[str]:
    script += "\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_command_imports_neither_a_section_nor_torch() -> None:
    sections = {entry.partition(":")[0] for entry in SECTIONS.values()}
    found = imported_by("import benchmarks.command")
    assert (sections | {"torch", "onnx", "onnxruntime", "matplotlib"}).isdisjoint(found)
    # Nor does drawing import what was measured with.
    script = "from benchmarks.section import SECTIONS, load_render\n"
    found = imported_by(script + "for entry in SECTIONS.values(): load_render(entry)")
    assert {"torch", "onnx", "openvino", "ncnn"}.isdisjoint(found)
