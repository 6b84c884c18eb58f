"""How differences between forms of a model are measured, judged and shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from rich.console import Console

from edge.differences import Difference
from edge.errors import ModelError, RegionError
from export import compare
from export.compare import Judge, Row, compare_files, require, table, textured
from export.precision.variants import sign
from tests.export.models import lively_graph

NAMES = ("int8", "the float32 file")


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "shapes_from", lambda least: ((1, 24, 24), (2, least, 40)))


def shifted(by: float) -> Judge:
    """A file that says it is of int8, and differs by a constant in every patch."""
    model = lively_graph()
    bias = next(t for t in model.graph.initializer if t.name == "head.bias")
    values = numpy_helper.to_array(bias) + np.float32(by)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    sign(model, "int8")
    return Judge(model)


def test_a_constant_shift_is_measured() -> None:
    told: list[str] = []
    pictures = [textured((1, 30, 40)), textured((2, 33, 20))]
    rows = compare_files(Judge(lively_graph()), shifted(0.25), pictures, told.append)
    assert [row.where for row in rows] == ["24×24", "2 × 5×40", "2 pictures"]
    assert told == [f"comparing on {row.where}" for row in rows]
    assert [row.pictures for row in rows] == [1, 2, 3]
    for row in rows:
        assert row.names == NAMES
        assert row.difference.logit == pytest.approx(0.25, abs=1e-5)
        assert row.difference.patch == pytest.approx(0.25, abs=1e-5)
        assert row.ok and 0 <= row.same <= row.pictures
    require(rows)
    (logit,), _ = Judge(lively_graph()).evidence(textured((1, 24, 24)))
    (other, *_) = compare_files(Judge(lively_graph()), shifted(-2 * float(logit)), [])
    assert other.same == 0, "a verdict that changes is counted"


def test_what_is_too_far_is_refused() -> None:
    rows = compare_files(Judge(lively_graph()), shifted(9.0), [])
    message = r"int8 differs from the float32 file on 24×24: by 9 in a logit .* where 5 is allowed"
    with pytest.raises(ModelError, match=message):
        require(rows)
    assert Row(NAMES, "x", Difference(9, 9, 0.25, 0.25), 0.25, 1, 1).ok
    assert not Row(NAMES, "x", Difference(0, 0, 0, math.inf), 0.25, 1, 1).ok


def test_the_table_shows_what_was_measured() -> None:
    rows = [
        Row(NAMES, "24×24", Difference(1e-3, 2e-3, 1e-3, 5e-4), 5, 1, 1),
        Row(NAMES, "96 pictures", Difference(40, 50, 20, 1), 5, 90, 96),
    ]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(rows))
    first, second = (line for line in capture.get().splitlines() if "of" in line and "│" in line)
    assert "int8" in first and "2.0e-03" in first and "1 of 1" in first and "ok" in first
    assert "90 of 96" in second and "too far" in second


def test_a_picture_is_judged_by_its_region() -> None:
    judge = Judge(lively_graph())
    image = textured((1, 40, 50))[0]
    assert judge(image) == pytest.approx(float(judge.evidence(image[None])[0][0]))
    with pytest.raises(RegionError, match="needs at least"):
        judge(image[:3])


def test_a_file_of_one_shape_is_compared_at_it() -> None:
    model = lively_graph("tiny_ladeda", "raw", (2, 32, 48))
    other = ModelProto()
    other.CopyFrom(model)
    sign(other, "int8")
    (row,) = compare_files(Judge(model), Judge(other), [])
    assert (row.where, row.pictures, row.difference.logit) == ("2 × 32×48", 2, 0)
    assert math.isfinite(Judge(model)(textured((1, 20, 90))[0]))
