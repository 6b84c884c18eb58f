from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.errors import SinkError
from edge.files import sha256_of
from edge.sources.images import read_image
from tests.edge.faces import pictures as face_pictures
from tests.training.pictures import smooth_noise
from training.degrade import JPEG_75, UNTOUCHED, Policy
from training.models import PatchModel, build
from training.probe import features
from training.probe.config import ProbeConfig, ViewConfig
from training.probe.features import FeatureStore, Job, Reported, Sample, mean_features, samples_of

TRUNK_WEIGHT = next(
    name for name, _ in build("lite0_magnitudes_s16", "raw").named_parameters() if "fc" not in name
)
WHOLE = Reported(UNTOUCHED, "native")


@pytest.fixture(scope="module")
def model() -> PatchModel:
    return build("lite0_magnitudes_s16", "raw").eval()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", 2)


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        PillowImage.fromarray(smooth_noise(rng)).save(path)
    looks = (WHOLE, Reported(JPEG_75, "fit:40"))
    return [Job(path, sha256_of(path), looks) for path in paths]


def _computed(model: PatchModel, jobs: list[Job], folder: Path) -> tuple[np.ndarray, list[int]]:
    done: list[int] = []
    with FeatureStore(folder, model) as store:
        store.compute(jobs, 0, done.append)
        return store.take(jobs), done


def test_rows_are_the_features_of_each_look(
    model: PatchModel, jobs: list[Job], tmp_path: Path
) -> None:
    found, done = _computed(model, jobs, tmp_path)
    image = read_image(jobs[1].path)
    np.testing.assert_allclose(found[2], mean_features(model, image[None])[0], atol=1e-5)
    reduced = jobs[1].looks[1](image, jobs[1].path)[0]
    assert reduced.shape == (40, 40, 3) and len(found) == 6
    np.testing.assert_allclose(found[3], mean_features(model, reduced[None])[0], atol=1e-5)
    assert sum(done) == 6 and done[0] == 0


def test_what_is_there_is_not_computed_again(
    model: PatchModel, jobs: list[Job], tmp_path: Path
) -> None:
    whole, _ = _computed(model, jobs, tmp_path)
    (rows,) = tmp_path.glob("*.rows")
    data = rows.read_bytes()
    rows.write_bytes(data[: len(data) // 2 + 7])  # as a run killed while it wrote leaves it
    again, done = _computed(model, jobs, tmp_path)
    assert done[0] == 3 and sum(done) == 6
    np.testing.assert_array_equal(whole, again)
    # By content: neither another name nor another order of the files matters.
    moved = [Job(job.path.rename(job.path.with_suffix(".moved.png")), *_rest(job)) for job in jobs]
    found, done = _computed(model, moved[::-1], tmp_path)
    assert done == [6]
    np.testing.assert_array_equal(found[:2], whole[4:])


def test_equal_pictures_move_no_row_of_another(
    model: PatchModel, jobs: list[Job], tmp_path: Path
) -> None:
    once, _ = _computed(model, jobs, tmp_path / "once")
    twice, _ = _computed(model, [jobs[0], *jobs], tmp_path / "twice")
    np.testing.assert_array_equal(twice[2:], once)


def _rest(job: Job) -> tuple[str, tuple[features.Look, ...]]:
    return job.digest, job.looks


def test_another_trunk_has_another_file_and_another_head_has_not(
    model: PatchModel, jobs: list[Job], tmp_path: Path
) -> None:
    _computed(model, jobs[:1], tmp_path)
    other = build("lite0_magnitudes_s16", "raw").eval()
    other.load_state_dict(model.state_dict())
    other.fc.weight.data += 1
    assert _computed(other, jobs[:1], tmp_path)[1] == [2]
    dict(other.named_parameters())[TRUNK_WEIGHT].data += 1
    _computed(other, jobs[:1], tmp_path)
    assert len(list(tmp_path.glob("*.rows"))) == 2


def test_a_file_in_use_is_left_alone(model: PatchModel, tmp_path: Path) -> None:
    with (
        FeatureStore(tmp_path, model),
        pytest.raises(SinkError, match="in use by another run"),
    ):
        FeatureStore(tmp_path, model)


def _sample(view: ViewConfig, seed: int, policy: Policy | None = None) -> Sample:
    return Sample(view, policy, first_compression=False, flip=False, seed=(seed,))


def test_samples_depend_on_the_seed_alone_and_show_what_the_view_says() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    policy = Policy(untouched=0)
    for view in (
        ViewConfig(crop=48),
        ViewConfig(region="fit:64"),
        ViewConfig(region="fit:64", shorter_side=(70, 90)),
    ):
        shown = [_sample(view, seed, policy)(image, Path("a.png"))[0] for seed in (1, 1, 2)]
        np.testing.assert_array_equal(shown[0], shown[1])
        assert shown[0].shape != shown[2].shape or (shown[0] != shown[2]).any()
    crop = _sample(ViewConfig(crop=48), 3)(image, Path("a.png"))[0]
    assert crop.shape == (48, 48, 3)
    sides = [
        _sample(ViewConfig(shorter_side=(70, 90)), seed)(image, Path("a.png"))[0].shape[0]
        for seed in range(20)
    ]
    assert 70 <= min(sides) < max(sides) <= 90
    enlarged = _sample(ViewConfig(shorter_side=(200, 300)), 0)(image, Path("a.png"))[0]
    np.testing.assert_array_equal(enlarged, image)


def test_a_blended_view_shows_a_real_face_and_what_was_made_of_it() -> None:
    views = [{"region": "faces:112", "blended": True, "count": 2}, {"region": "faces:112"}]
    config = ProbeConfig.model_validate({"name": "p", "views": views, "policy": None})
    real, fake = (samples_of(config, "0" * 64, label) for label in (0, 1))
    assert [look.blended for look in real] == [False, True, False, True, False]
    assert [look.view.blended for look in fake] == [False]
    crop = np.ascontiguousarray(face_pictures.photograph()[37:197, 143:303])
    shown = [look(crop, Path("x.png"))[0].astype(int) for look in real]
    for target, blended in (shown[:2], shown[2:4]):
        changed = np.argwhere(np.abs(target - blended).max(2) > 2)
        assert len(changed) and (np.abs(changed - 56) < 50).all()
    assert not np.array_equal(shown[1], shown[3])
    with pytest.raises(ValueError, match="blended is for aligned faces"):
        ViewConfig(blended=True)


def test_pictures_too_small_for_their_degradation_are_shown_all_the_same() -> None:
    tiny = np.zeros((9, 9, 3), np.uint8)
    for seed in range(20):
        _sample(ViewConfig(region="fit:8"), seed, Policy(untouched=0))(tiny, Path("a.png"))
