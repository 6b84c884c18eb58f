from __future__ import annotations

import pytest

from benchmarks.compare import compare
from benchmarks.section import Row
from edge.errors import UsageError
from tests.benchmarks.recorded import latency, rates, result


def test_an_injected_slowdown_is_a_regression() -> None:
    found = compare(
        result({"latency": latency()}), result({"latency": latency(slowdown=1.2, seed=9)})
    )
    assert [line.change for line in found.lines] == ["slower"] * 3
    assert len(found.regressions) == 3
    for line in found.lines:
        assert line.interval is not None
        assert line.ratio == pytest.approx(1.2, abs=0.03)
        assert line.interval[0] < line.ratio < line.interval[1]


def test_noise_is_not() -> None:
    changes = [
        line.change
        for seed in range(1, 9)
        for line in compare(
            result({"latency": latency()}), result({"latency": latency(seed=seed)})
        ).lines
    ]
    # A 95 % interval is wrong for one row in twenty; 24 rows share one side's draws here.
    assert changes.count("within noise") >= 20
    same = compare(result({"latency": latency()}), result({"latency": latency()}))
    assert {line.change for line in same.lines} == {"within noise"}
    assert same.regressions == []


@pytest.mark.parametrize(
    ("after", "change"), [(50.0, "slower"), (57.0, "within noise"), (70.0, "faster")]
)
def test_frames_per_second_count_the_other_way(after: float, change: str) -> None:
    found = compare(result({"end_to_end": rates()}), result({"end_to_end": rates(after)}))
    assert {line.change for line in found.lines} == {change}
    assert found.lines[0].ratio == pytest.approx(60 / after)
    assert "4 of 4 rows keep fewer than 3 samples" in found.markdown()


def test_rounds_of_frames_per_second_are_samples() -> None:
    def row(fps: list[float]) -> Row:
        return {"clip": "720p", "candidate": "overlay", "fps": fps[1], "rounds_fps": fps}

    found = compare(
        result({"end_to_end": [row([59.0, 60.0, 61.0])]}),
        result({"end_to_end": [row([39.0, 40.0, 41.0])]}),
    )
    (line,) = found.regressions
    assert line.unit == "fps" and line.ratio == pytest.approx(1.5)
    assert line.interval is not None and 1.4 < line.interval[0] < 1.5 < line.interval[1]


def test_of_two_samples_the_figure_alone_counts() -> None:
    def rows(samples: list[float]) -> list[Row]:
        return [{"runtime": "r", "threads": 1, "samples_ms": samples}]

    few = compare(result({"latency": rows([1.0, 1.01])}), result({"latency": rows([1.05, 1.06])}))
    assert few.lines[0].interval is None and few.lines[0].change == "within noise"
    mixed = compare(result({"latency": rows([1.0])}), result({"latency": rows([0.9, 1.6, 1.7])}))
    assert mixed.lines[0].interval is None and mixed.lines[0].change == "slower"
    assert "r · 1 thread |" in mixed.markdown()


def test_rows_match_by_what_was_measured_and_not_by_their_place() -> None:
    before = latency() + latency(threads=2, slowdown=0.5)
    found = compare(result({"latency": before}), result({"latency": before[::-1]}))
    assert {line.ratio for line in found.lines} == {1.0}


def test_rows_of_one_side_alone_and_missing_ones_are_noted() -> None:
    missing: Row = {"runtime": "CUDA", "missing": "no GPU here"}
    found = compare(
        result({"latency": [*latency(), missing]}),
        result({"latency": [*latency()[:2], *latency(runtime="another")[:1]]}),
    )
    assert len(found.lines) == 2
    text = found.markdown()
    assert "1 rows are measured in A alone (latency)." in text
    assert "1 rows are measured in B alone (latency)." in text


def test_what_weakens_a_comparison_is_noted() -> None:
    a = result({"latency": latency()}, quick=True, interrupted=True)
    b = result(
        {"latency": latency()},
        warning="The machine was busy.",
        cpu="Other",
        libraries={"onnxruntime": "1.21.0"},
    )
    text = compare(a, b).markdown()
    for note in (
        "The machines differ, so a ratio says little of the program: cpu Abacus 3000 → Other.",
        "numpy 2.0.0 → absent, onnxruntime 1.20.0 → 1.21.0",
        "--quick",
        "A was interrupted",
        "B: The machine was busy.",
    ):
        assert note in text


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(UsageError, match="no measured row in common"):
        compare(result({"latency": latency()}), result({"scaling": latency()}))


@pytest.mark.parametrize("bound", [1.0, 0.5, float("nan")])
def test_a_bound_that_flags_everything_is_refused(bound: float) -> None:
    with pytest.raises(UsageError, match="--bound"):
        compare(result({"latency": latency()}), result({"latency": latency()}), bound)
