"""The doors between the rooms: benchmarks → export → training → edge, and nothing backwards."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import make_manifest
from tests.onnx_files import write_model

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("edge", "training", "export", "benchmarks")
HEAVY = {"onnxruntime", "tensorrt", "pycuda", "av"}
NOT_ON_THE_DEVICE = {"torch", "onnx", "sklearn", "safetensors", "skimage"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_to_its_right(room: str) -> None:
    forbidden = set(ROOMS[ROOMS.index(room) + 1 :]) | {"tests", "patchwatch"}
    found = {str(p.relative_to(ROOT)): forbidden & set(imports(p)) for p in modules(room)}
    assert not {path: names for path, names in found.items() if names}


def test_edge_imports_nothing_that_a_device_lacks() -> None:
    found = {str(p.relative_to(ROOT)): NOT_ON_THE_DEVICE & set(imports(p)) for p in modules("edge")}
    assert not {path: names for path, names in found.items() if names}


def test_a_heavy_library_is_imported_in_one_module_each() -> None:
    users: dict[str, set[str]] = {name: set() for name in HEAVY}
    for path in modules("edge"):
        if "commands" not in path.parts:
            for name in HEAVY & set(imports(path)):
                users[name].add(str(path.relative_to(ROOT / "edge")))
    assert all(len(paths) <= 4 for paths in users.values()), users
    assert users["onnxruntime"] <= {"backends/onnxruntime.py", "demo/__init__.py"}
    sources = {"sources/streams.py", "sources/video.py", "sources/decoding.py"}
    assert users["av"] <= {"sinks/video.py", *sources}
    assert users["tensorrt"] == {"tensorrt/engine.py"}
    assert users["pycuda"] == {"cuda/pycuda.py"}


def test_the_loops_know_no_view_and_no_sink_by_name() -> None:
    named = re.compile(r"edge\.(live\.(window|status|screen)|sinks\.(?!base|worker))")
    for path in ("pipeline.py", "live/loop.py", "live/scheduler.py"):
        assert not named.search((ROOT / "edge" / path).read_text(encoding="utf-8")), path


def test_there_is_no_utils() -> None:
    assert not [p for room in ROOMS for p in modules(room) if "util" in p.stem]


def test_edge_runs_where_torch_and_its_like_are_absent(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", make_manifest())
    script = f"""
        import sys
        absent = {sorted(NOT_ON_THE_DEVICE | {"tensorrt", "pycuda", "training", "export"})!r}
        for name in absent:
            sys.modules[name] = None
        import cv2, numpy
        stripes = numpy.tile(numpy.repeat(numpy.uint8([190, 210]), 15), 2)
        cv2.imwrite("p.png", numpy.broadcast_to(stripes[None, :, None], (40, 60, 3)).copy())
        import patchwatch
        code = patchwatch.main(["run", "p.png", "--model", {str(model)!r}, "--headless",
                                "--json", "out.jsonl", "--images", "out", "--save", "out.mp4"])
        assert not [name for name in absent if sys.modules.get(name)]
        sys.exit(code)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"verdict": "fake"' in (tmp_path / "out.jsonl").read_text()
    assert (tmp_path / "out.mp4").stat().st_size > 0
