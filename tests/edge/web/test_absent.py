"""Nothing but the page needs the libraries of the page."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.edge.sources.clips import write_clip
from tests.test_doors import ROOT, imports

LIBRARIES = {"fastapi", "starlette", "uvicorn", "prometheus_client", "paho"}


def test_they_are_imported_where_they_are_used_alone() -> None:
    users = {
        str(path.relative_to(ROOT / "edge")): found
        for path in sorted((ROOT / "edge").rglob("*.py"))
        if (found := LIBRARIES & set(imports(path)))
    }
    assert {path for path in users if not path.startswith("web/")} <= {"sinks/mqtt.py"}
    loops = ("pipeline.py", "live/loop.py", "live/session.py", "live/scheduler.py", "api.py")
    for path in loops:
        assert "edge.web" not in (ROOT / "edge" / path).read_text(encoding="utf-8")


def run(folder: Path, absent: set[str], *words: str) -> subprocess.CompletedProcess[str]:
    script = f"""
        import sys
        for name in {sorted(absent)!r}:
            sys.modules[name] = None
        import patchwatch
        sys.exit(patchwatch.main(["run", "clip.mp4", "--headless", *{list(words)!r}]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_detection_is_the_same_without_them(tmp_path: Path, model: str) -> None:
    write_clip(tmp_path / "clip.mp4", 20, (96, 64))
    lines = []
    for absent, name in ((set[str](), "with.jsonl"), (LIBRARIES, "without.jsonl")):
        done = run(tmp_path, absent, "--model", model, "--json", name, "--backend", "onnxruntime")
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        lines.append([(each["index"], each["logit"], each["verdict"]) for each in found])
    assert lines[0] == lines[1] and len(lines[0]) == 20
    done = run(tmp_path, LIBRARIES, "--model", model, "--web", "0")
    assert done.returncode == 1 and "pip install 'patchwatch[web]'" in done.stderr
