"""Programs in Python that run in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

Done = subprocess.CompletedProcess[str]


def in_python(
    script: str, *words: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> Done:
    """Run a script to its end, in the repository unless another folder is named."""
    command = [sys.executable, "-c", textwrap.dedent(script), *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
