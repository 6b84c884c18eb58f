"""The checkpoints that ship, for others to go on from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import training
from edge.weights import shipped
from training.checkpoint import load_checkpoint
from training.methods.base import model_input

FOLDER = Path(training.__file__).parent / "checkpoints"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.safetensors")), ids=lambda path: path.stem)
def test_a_shipped_checkpoint_is_the_shipped_model_of_its_name(path: Path) -> None:
    model, card = load_checkpoint(path)
    assert path.stat().st_size < 28e6
    if card.name not in shipped():
        assert card.name == path.stem and card.validation and card.licence
        return
    frames = np.random.default_rng(0).integers(0, 256, (1, 224, 288, 3)).astype(np.uint8)
    session = onnxruntime.InferenceSession(str(shipped()[card.name]))
    (logit,) = session.run(["logit"], {"frames": frames})
    with torch.no_grad():
        found = model(model_input(torch.from_numpy(frames)))
    assert float(found) == pytest.approx(float(logit[0]), abs=0.02)
