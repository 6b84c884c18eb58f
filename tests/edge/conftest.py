from __future__ import annotations

from pathlib import Path

import pytest

from tests.onnx_files import write_model


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model file that calls bright pictures fake."""
    return str(write_model(tmp_path / "model.onnx"))
