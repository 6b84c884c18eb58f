"""Small evaluations and frontiers, with figures that are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.frontier.record import Frontier, Point, Quality, Work
from tests.training.evaluation.made import made_record
from training.evaluation.bootstrap import Estimate
from training.evaluation.summary import summarise, write_summary

UNTOUCHED, JPEG, VIDEO = "untouched", "JPEG 75", "H.264 CRF 23"


def write_quality(path: Path, seed: int = 0, **facts: Mapping[str, object]) -> Path:
    """The figures of an evaluation on disk.

    Args:
        path: where to.
        seed: of the logits.
        facts: model → what is known of it besides its name.
    """
    summary = summarise(made_record(tuple(facts), seed=seed), draws=20)
    models = tuple(model.model_copy(update=dict(facts[model.name])) for model in summary.models)
    path.write_text(write_summary(summary.model_copy(update={"models": models})))
    return path


def around(auc: float, half: float = 0.05) -> Estimate:
    return (auc, auc - half, auc + half)


def point(
    name: str, gflops: float | None, untouched: float = 0.8, compressed: float = 0.7
) -> Point:
    """A model; without work where it has no GFLOP."""
    work = None
    if gflops is not None:
        work = Work(
            macs=int(gflops * 5e8), input_hw=(512, 512), inputs=1, counted_from="architecture"
        )
    return Point(
        name=name,
        architecture="tiny_ladeda",
        region="center:512",
        parameters=1297,
        auc={
            UNTOUCHED: around(untouched),
            JPEG: around(compressed + 0.01),
            VIDEO: around(compressed - 0.01, 0.07),
        },
        work=work,
        missing=None if work else "its file was not given.",
    )


def frontier(*points: Point) -> Frontier:
    return Frontier(
        time="2030-01-02T03:04:05+00:00",
        commit="abc1234",
        frame_hw=(720, 1280),
        quality=Quality(
            file="quality.json", sha256="0" * 64, time="2030-01-01T00:00:00+00:00", commit="def5678"
        ),
        columns=(UNTOUCHED, JPEG, VIDEO),
        models=points,
    )
