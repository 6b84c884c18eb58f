from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.training.pictures import write_split
from training.data.folders import index_folder
from training.degrade import JPEG_75, UNTOUCHED
from training.evaluation import evaluate
from training.models import build


def test_whole_pictures_are_scored_and_the_model_keeps_its_mode(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=1, seed=0)
    pictures = index_folder(tmp_path).pictures
    torch.manual_seed(0)
    model = build("tiny_ladeda", "raw")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    seen: list[int] = []
    evaluation = evaluate(model, pictures, [UNTOUCHED, JPEG_75], on_picture=lambda: seen.append(1))
    assert model.training and len(seen) == len(pictures) == 4
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert evaluation.logits[UNTOUCHED].shape == (4,)
    assert not np.allclose(evaluation.logits[UNTOUCHED], evaluation.logits[JPEG_75])
    assert set(evaluation.restricted_to([JPEG_75]).logits) == {JPEG_75}
