"""A detector that watches private rooms writes nothing that was not asked for, and calls nobody."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.sources.clips import write_clip


def test_a_run_leaves_nothing_at_home_and_looks_nobody_up(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 30, (320, 240))
    (home := tmp_path / "home").mkdir()
    run = [sys.executable, "-m", "patchwatch", "run", str(tmp_path / "clip.mp4"), "--headless"]
    trace = tmp_path / "trace"
    strace = shutil.which("strace")
    watched = [str(strace), "-f", "-qq", "-e", "trace=connect,sendto,sendmmsg", "-o", str(trace)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    environment = {**kept, "HOME": str(home), "XDG_CACHE_HOME": "", "CI": ""}
    subprocess.run([*(watched if strace else []), *run], env=environment, check=True)
    # What was tried and compiled for this machine stays in the environment.
    kept_there = home / (".cache/patchwatch" if sys.prefix == sys.base_prefix else "nowhere")
    left = [path for path in home.rglob("*") if path.is_file()]
    assert [path for path in left if kept_there not in path.parents] == []
    if strace is None:
        pytest.skip("needs strace to see who is called; nothing else was written below home")
    assert not re.search(r"AF_INET6?\b|nscd", trace.read_text())


def test_whatever_imports_a_runtime_switches_its_telemetry_off_before() -> None:
    for package in ("edge", "export", "training", "benchmarks"):
        script = f"import os, {package}; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
        subprocess.run([sys.executable, "-c", script], check=True)
