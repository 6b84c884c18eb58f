from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.sources.clips import flat_clip
from tests.onnx_files import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose logit is the mean of all values minus 128, for any size of picture."""
    return write_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that the model calls fake."""
    return flat_clip(tmp_path_factory.mktemp("clips") / "bright.mp4", 240)
