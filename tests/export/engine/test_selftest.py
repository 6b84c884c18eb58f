from __future__ import annotations

from typing import Any

import pytest

from edge.errors import GpuError
from export.engine.process import BuildError
from export.engine.selftest import _noted


def gpu_error() -> GpuError:
    error = GpuError("no GPU")
    error.__cause__ = BuildError("half by type: no GPU", "x" * 3000 + "the last line")
    return error


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "said", "also"),
    [
        (BuildError("no engine", "ERROR: the last line"), "no engine", "builder_stderr"),
        (gpu_error(), "no GPU", "builder_stderr"),
        (ZeroDivisionError("the last line"), "ZeroDivisionError: the last line", "traceback"),
    ],
)
def test_whatever_fails_is_in_the_report_and_the_rest_goes_on(
    error: Exception, said: str, also: str
) -> None:
    report: dict[str, Any] = {}
    with _noted(report, "fp16") as part:
        part["build"] = "done before"
        fail(error)
    assert report["fp16"].pop("build") == "done before"
    assert report["fp16"].pop("error") == said
    ((name, text),) = report["fp16"].items()
    assert name == also and "the last line" in text and len(text) <= 2_000
