"""How TensorRT's own words are read; they are from public logs of 5.0 to 11.2."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.tensorrt.log_lines import Doing, Line, Problem, explain

GOLDEN = Path(__file__).with_name("log_lines.tsv").read_text(encoding="utf-8")
"""A line each: what was tried, the kind of problem, part of our sentence, what TensorRT wrote."""

LINES = [line.split("\t") for line in GOLDEN.splitlines()]


@pytest.mark.parametrize(("doing", "kind", "part", "line"), LINES)
def test_a_line_is_read_and_carried(doing: Doing, kind: str, part: str, line: str) -> None:
    found = explain([Line("ERROR", line)], doing)
    assert found.kind is Problem[kind]
    assert part in found.sentence
    assert str(found).startswith(f"{found.sentence}. TensorRT: {line[:200]}")


def test_every_kind_but_the_unknown_was_seen() -> None:
    assert {Problem[kind] for _, kind, _, _ in LINES} == set(Problem) - {Problem.UNKNOWN}


@pytest.mark.parametrize(
    ("doing", "lines", "kind"),
    [
        (  # what 8.6 writes of a plan of another version: the second line follows from the first
            "load",
            (
                "6: The engine plan file is not compatible with this version of TensorRT",
                "2: [engine.cpp::deserializeEngine::1148] Error Code 2: Internal Error",
            ),
            Problem.OTHER_VERSION,
        ),
        (  # what precedes the cause is passed over
            "run",
            (
                "1: [convolutionRunner.cpp::execute::211] Error Code 1: Cask (Cask convolution)",
                "1: [checkMacros.cpp::catchCudaError::271] Error Code 1: Cuda Runtime (invalid "
                "resource handle)",
            ),
            Problem.WRONG_CONTEXT,
        ),
    ],
)
def test_of_several_errors_the_first_that_is_known_counts(
    doing: Doing, lines: tuple[str, ...], kind: Problem
) -> None:
    assert explain([Line("ERROR", line) for line in lines], doing).kind is kind


TACTIC = Line(
    "WARNING",
    "Tactic Device request: 414MB Available: 216MB. Device memory is insufficient to use tactic.",
)
NO_KERNEL = Line(
    "ERROR",
    "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any "
    "implementation for node node_max_pool2d.)",
)


def test_warnings_of_memory_count_only_where_no_kernel_was_found() -> None:
    other = Line("ERROR", "2: [builder.cpp::636] Error Code 2: Internal Error (Assertion failed.)")
    assert explain([TACTIC, NO_KERNEL], "build").kind is Problem.OUT_OF_MEMORY
    assert explain([NO_KERNEL], "build").kind is Problem.UNKNOWN
    found = explain([TACTIC, other], "build")
    assert found.kind is Problem.UNKNOWN
    assert found.line == other.text


def test_a_warning_is_all_that_8_x_gives_of_a_missing_driver() -> None:
    warning = Line(
        "WARNING",
        "CUDA initialization failure with error: 35. Please check your CUDA installation:  "
        "http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html",
    )
    assert explain([warning], "build").kind is Problem.NO_GPU


def test_without_lines_python_is_quoted() -> None:
    nothing = explain([], "load", "TensorRT returned nothing")
    assert nothing.kind is Problem.UNKNOWN
    assert str(nothing) == "TensorRT could not load the engine. TensorRT: TensorRT returned nothing"
    nullptr = explain([], "build", "pybind11::init(): factory function returned nullptr")
    assert nullptr.kind is Problem.NO_GPU
    assert str(explain([], "run")) == "TensorRT could not run the engine."
