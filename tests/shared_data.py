"""Where large test material lies when it is at hand; tests that need it skip without it."""

from __future__ import annotations

from pathlib import Path

import pytest

_CANDIDATE = Path(__file__).resolve().parents[2] / "shared"
SHARED: Path | None = _CANDIDATE if _CANDIDATE.is_dir() else None


def shared(relative: str) -> Path:
    """The path of a piece of shared material; skips the test where it is not at hand."""
    if SHARED is None or not (SHARED / relative).exists():
        pytest.skip(f"needs {relative} beside the checkout (not part of the repository)")
    return SHARED / relative
