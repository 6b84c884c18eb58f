from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from edge.errors import SourceError, UsageError
from tests.training.faces.face_sets import SIDE, write_faces
from training.faces.config import FacesConfig
from training.faces.data import FaceData
from training.faces.sets import FaceSet, combined, write_set


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FaceSet]:
    folder = tmp_path_factory.mktemp("sets")
    base = write_faces(folder / "base", "faceforensics")
    augment = write_faces(folder / "augment", "youtube", ("train", "val"), seed=1)
    both = write_set(folder / "both", combined([base, augment], folder / "both"))
    return {"base": base, "augment": augment, "both": both}


def config(**changes: Any) -> FacesConfig:
    return FacesConfig.model_validate(
        {"kind": "faces", "name": "f", "size": SIDE, "batch": 8, "augment": None, **changes}
    )


def test_two_sets_are_what_both_of_them_are(sets: dict[str, FaceSet]) -> None:
    parts = FaceData(config(), {name: sets[name] for name in ("base", "augment")})
    whole = FaceData(config(), {"both": sets["both"]})
    assert [f.path.name for f in parts.train] == [f.path.name for f in whole.train]
    assert len(parts.train) == 48 and {n: len(x) for n, x in whole.val.items()} == {
        "base": 24,
        "augment": 24,
    }
    alone = FaceData(config(train_set="augment"), {"both": sets["both"]})
    assert {face.source for face in alone.train} == {"youtube"}


def test_a_share_keeps_both_labels_and_follows_the_seed(sets: dict[str, FaceSet]) -> None:
    first, again, other = (
        FaceData(config(sample_share=0.5, seed=seed), sets).train for seed in (0, 0, 1)
    )
    assert list(first) == list(again) != list(other)
    assert Counter(face.label for face in first) == {0: 12, 1: 12}


def test_what_is_missing_is_said(sets: dict[str, FaceSet], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train_set both needs --base and --augment, or --both"):
        FaceData(config(), {"base": sets["base"]})
    with pytest.raises(UsageError, match="needs --augment, or --both; given: base"):
        FaceData(config(train_set="augment"), {"base": sets["base"]})
    no_val = write_faces(tmp_path / "no-val", "faceforensics", ("train",))
    with pytest.raises(SourceError, match="no set has faces for validation"):
        FaceData(config(train_set="base"), {"base": no_val})


def test_every_face_comes_once_an_epoch_whoever_loads_it(sets: dict[str, FaceSet]) -> None:
    settings = config(augment={}, train_set="base")
    data, helped = (FaceData(settings, sets, workers=workers) for workers in (0, 1))
    assert data.steps_per_epoch == 3
    samples, plain = data.samples(), FaceData(config(train_set="base"), sets).samples()
    epochs = [[plain[24 * e + i]["frames"].tobytes() for i in range(24)] for e in (0, 1)]
    assert len(set(epochs[0])) == 24 and epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert samples[0]["frames"].tobytes() != plain[0]["frames"].tobytes()
    first, other = (next(iter(d.train_dataloader())) for d in (data, helped))
    assert all(torch.equal(first[key], other[key]) for key in ("frames", "label", "source"))
    assert first["frames"].shape == (8, SIDE, SIDE, 3) and first["frames"].dtype == torch.uint8


def test_validation_faces_come_in_their_order_by_set(sets: dict[str, FaceSet]) -> None:
    data = FaceData(config(), sets)
    for place, (loader, faces) in enumerate(
        zip(data.val_dataloader(), data.val.values(), strict=True)
    ):
        labels = torch.cat([batch["label"] for batch in loader]).tolist()
        assert labels == [face.label for face in faces]
        assert {int(s) for batch in loader for s in batch["source"]} == {place}
