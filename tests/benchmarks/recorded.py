"""Results as a run would have left them, with figures that are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.results_file import BenchResult, Conditions, Measured
from benchmarks.section import Plan, Row

MACHINE: dict[str, object] = {
    "cpu": "Abacus 3000",
    "cores": 2,
    "memory_gib": 8.0,
    "governor": "performance",
    "board": None,
    "gpu": None,
    "system": "Linux",
    "python": "3.11.0",
    "libraries": {"numpy": "2.0.0", "onnxruntime": "1.20.0"},
}
FOLDED = "ONNX Runtime, folded graph"
SIZES_HW = ((256, 256), (720, 1280), (1080, 1920))


def result(
    sections: Mapping[str, list[Row]],
    time: str = "2030-01-02T03:04:05+00:00",
    quick: bool = False,
    warning: str | None = None,
    interrupted: bool = False,
    **machine: object,
) -> BenchResult:
    return BenchResult(
        time=time,
        commit="abc1234",
        machine=MACHINE | machine,
        config=Plan(quick=quick, threads=(1, 2), budget_s={"latency": 200.0}, seed=0),
        conditions=Conditions(load_average=(0.1, 0.2, 0.3), busy=warning is not None),
        interrupted=interrupted,
        warning=warning,
        sections={name: Measured(title=name, rows=rows) for name, rows in sections.items()},
    )


def latency(
    slowdown: float = 1.0, seed: int = 0, threads: int = 1, runtime: str = FOLDED
) -> list[Row]:
    """Rows at three sizes with 60 samples each, skewed to the right as latencies are."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for size in SIZES_HW:
        typical = size[0] * size[1] / 65536
        samples = slowdown * typical * (1 + rng.gamma(2.0, 0.02, 60))
        rows.append(
            {
                "runtime": runtime,
                "model": "tiny-ladeda",
                "size": list(size),
                "threads": threads,
                "p50_ms": float(np.median(samples)),
                "p95_ms": float(np.quantile(samples, 0.95)),
                "ratio_to_naive": 0.5,
                "samples_ms": [float(value) for value in samples],
            }
        )
    return rows


def rates(fps: float = 60.0, clip: str = "720p") -> list[Row]:
    candidates = ("decode alone", "no picture", "overlay", "overlay and encoding")
    return [
        {"part": "rate", "clip": clip, "candidate": name, "fps": fps / (1 + index)}
        for index, name in enumerate(candidates)
    ]


def compute() -> list[Row]:
    return [
        {
            "model": "tiny_ladeda",
            "preprocessing": "x_grad",
            "form": "folded",
            "height_px": height,
            "width_px": width,
            "macs": 800 * height * width,
        }
        for height, width in SIZES_HW
    ]


def whole(**keywords: object) -> BenchResult:
    """All that the README's table needs."""
    sections = {
        "compute": compute(),
        "latency": latency() + latency(threads=2),
        "end_to_end": rates() + rates(30.0, "1080p"),
    }
    return result(sections, **keywords)  # type: ignore[arg-type]  # the keywords are of `result`
