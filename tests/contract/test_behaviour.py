"""How the bindings behave before any library is asked: the fake's answers beside the real ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.contract.bindings import prepared, real_surface
from tests.fake_tensorrt import VERSIONS, Faults, site_environment

SCRIPT = """
    import importlib, json, sys
    trt = importlib.import_module(sys.argv[1])
    Type, Flag = trt.DataType, trt.BuilderFlag
    dims = trt.Dims((1, 2, 3))

    class Forgetful(trt.ILogger):
        def __init__(self):
            self.lines = []

    class Careful(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.lines = []

        def log(self, severity, msg):
            self.lines.append(msg)

    def assign(owner, name):
        setattr(owner, name, None)

    answers = []
    for ask in (
        lambda: str(Type.UINT8),
        lambda: repr(Type.UINT8),
        lambda: Type.UINT8.name,
        lambda: Type.UINT8.value,
        lambda: f"{Type.UINT8}",
        lambda: Type(5) == Type.UINT8,
        lambda: Type.UINT8 == 5,
        lambda: Type.UINT8 != Type.BOOL,
        lambda: Type.UINT8 < Type.BOOL,
        lambda: {Type.UINT8: 1}[Type(5)],
        lambda: 1 << int(Flag.TF32),
        lambda: 1 << Flag.TF32,
        lambda: [1, 2][trt.TensorIOMode.INPUT],
        lambda: list(Type),
        lambda: sorted(Type.__members__),
        lambda: trt.ILogger.ERROR == trt.ILogger.Severity.ERROR,
        lambda: Forgetful(),
        lambda: repr(Careful().WARNING),
        lambda: Careful().lines,
        lambda: trt.ILayer(),
        lambda: trt.IHostMemory(),
        lambda: trt.IBuilderConfig(),
        lambda: trt.Builder(3),
        lambda: trt.Builder(Careful()),
        lambda: trt.Runtime(Careful()),
        lambda: str(dims),
        lambda: repr(trt.Dims((4,))),
        lambda: (tuple(dims), list(dims), len(dims)),
        lambda: (dims == (1, 2, 3), dims == [1, 2, 3], (1, 2, 3) == dims, dims == (1, 2)),
        lambda: hash(dims),
        lambda: len(trt.Dims()),
    ):
        try:
            answers.append(repr(ask()))
        except Exception as error:
            first = str(error).splitlines()[0]
            answers.append(f"{type(error).__name__}: {first}")
    json.dump(answers, sys.stdout)
"""


_PREFIX = re.compile(r"(?:tensorrt_bindings\.|tensorrt\.)*tensorrt\.|pybind11_(?=type)")
"""Where a class lives: Python's own messages name it for the real ones alone."""


def answers(module: str, environment: dict[str, str], folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), module],
        env=os.environ | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return [_PREFIX.sub("", text) for text in found]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fake_answers_as_the_real_one(version: str, tmp_path: Path) -> None:
    real_surface(version)  # skips where the bindings do not import
    folder = prepared(version)
    environment = {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder / "stubs")}
    real = answers("tensorrt_bindings", environment, tmp_path)
    fake = answers("tensorrt", site_environment(version, Faults(cuda_error=35)), tmp_path)
    assert fake == real
