from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import patchwatch
from edge.errors import UsageError
from edge.manifest import Calibration
from tests.training.pictures import index_folder, write_split
from training.calibration import calibrate
from training.checkpoint import load_checkpoint
from training.config import load_config
from training.degrade import JPEG_90, UNTOUCHED
from training.evaluation import evaluate
from training.methods.tail import MapBatches
from training.models import build
from training.models.lite import LiteModel
from training.probe.command import with_prior
from training.probe.config import TuneConfig
from training.probe.features import Job, Reported
from training.probe.maps import Kept, MapStore

CONFIG = """
name: tuned
architecture: lite0_levels
preprocessing: raw
region: fit:128
views: [{region: 'fit:128', count: 1}, {region: 'faces:128', blended: true}]
rank: 0.5
policy: {untouched: 1, two: 0}
per_source: 2
strengths: [0.01]
whitenings: [0]
kept: 13
cells: 4
steps: 4
batch: 4
rate: 0.001
ema: 0.5
soup: 2
start_share: 0.25
prior: 0.2
validate_every: 2
data: {crop: 96}
folds: 2
validation:
  columns: [untouched]
  calibration: [untouched]
  report: [untouched, JPEG 90]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_split(folder / "train", per_source=3, seed=0, side=128)
    write_split(folder / "val", per_source=3, seed=1, side=128)
    (folder / "tune.yaml").write_text(CONFIG)
    return folder


def test_the_tail_is_trained_and_the_rest_stays(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["tune", str(data / "tune.yaml"), "--data", str(data), "--output", str(run)]
    machine = ["--workers", "0", "--threads", "1", "--licence", "none"]
    assert patchwatch.main([*words, *machine]) == 0
    model, card = load_checkpoint(run / "tuned.safetensors")
    torch.manual_seed(0)
    start = build("lite0_levels", "raw").state_dict()
    one, two = (load_checkpoint(run / f"run-{i}" / "tuned.safetensors")[0] for i in (0, 1))
    for name, value in model.state_dict().items():
        first, second = one.state_dict()[name], two.state_dict()[name]
        moves = name.startswith(("trunk.lite.blocks.13.", "trunk.lite.blocks.15."))
        if moves and name.endswith("conv.weight"):
            assert not torch.equal(first, second), name
        if name.startswith(("trunk.lite.stem.", "trunk.lite.blocks.12.")):
            assert torch.equal(first, second), name
        if not name.startswith("fc."):
            mean = (first.double() + second.double()) / 2
            assert torch.allclose(value.double(), 0.25 * start[name].double() + 0.75 * mean), name
    assert card.training.data.startswith("4 photographs (camera-a, camera-b) and 4 generated")
    # What was measured on kept maps is what the model does on pictures.
    pictures = index_folder(data / "val").pictures
    auc = next(f for f in card.validation if f.degradation == JPEG_90 and "auc" in f.metric)
    found = evaluate(model, pictures, [JPEG_90]).mean_auc([JPEG_90])
    assert auc.value == pytest.approx(found, abs=2e-2)
    assert card.calibration.temperature == 1.0
    even = calibrate(evaluate(model, pictures, [UNTOUCHED]), 0.05)
    assert card.calibration.bias == pytest.approx(with_prior(even, 0.2).bias, abs=0.1)
    assert card.calibration.bias - even.bias > 1
    # A second run goes on from what is there.
    before = (run / "tuned.safetensors").read_bytes()
    assert patchwatch.main([*words, *machine, "--resume"]) == 0
    assert (run / "tuned.safetensors").read_bytes() == before


def test_late_sources_move_the_head_alone_and_only_in_the_last_fit(
    data: Path, tmp_path: Path
) -> None:
    with_late = tmp_path / "data"
    shutil.copytree(data, with_late)
    write_split(tmp_path / "more", per_source=2, seed=7, side=128)
    for folder in sorted((tmp_path / "more").glob("*/*")):
        label = folder.parent.name
        shutil.move(folder, with_late / "train" / label / f"{folder.name}-late")
    found = []
    for number, (root, strength) in enumerate([(data, 1e-2), (with_late, 1e-2), (with_late, 1e-9)]):
        run = tmp_path / f"run{number}"
        words = ["tune", str(data / "tune.yaml"), "--data", str(root), "--output", str(run)]
        changed = ["soup=1", "steps=2", "start_share=0", "late=[-late]", "validation.per_source=2"]
        words += ["--set", *changed, f"late_strength={strength}"]
        assert patchwatch.main([*words, "--workers", "0", "--threads", "1", "--licence", "no"]) == 0
        one = load_checkpoint(run / "run-0" / "tuned.safetensors")[0].state_dict()
        last, card = load_checkpoint(run / "tuned.safetensors")
        assert "chosen on 4 photographs (camera-a, camera-b) and 4 gen" in card.training.data
        found.append((one, last.fc.weight))
    # Directions: the solver of the first head stops within a tolerance, and the last step divides
    # the head by the temperature.
    (one, _), (same, moved), (_, held) = found
    for name in (name for name in one if name.endswith("conv.weight")):
        assert _cosine(one[name], same[name]) > 0.999, name
    trained = same["fc.weight"]
    assert _cosine(held, trained) > 1 - 1e-5
    assert _cosine(moved, trained) < 0.98


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.flatten().double(), other.flatten().double()
    return torch.cosine_similarity(one, other, dim=0).item()


def test_the_tail_on_a_kept_map_is_the_model(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("lite0_levels", "raw").eval()
    assert isinstance(model, LiteModel)
    path = index_folder(data / "val").pictures[0].path
    job = Job(path, "digest", (Reported("untouched", "fit:64"), Reported("untouched", "native")))
    with MapStore(tmp_path, model, 11) as store:
        store.compute([job], 0)
    with MapStore(tmp_path, model, 11) as store:  # read again from the files
        kept = store.take_maps([job])
    assert len(kept.maps) == 2 and kept.maps[0].shape[1:] != kept.maps[1].shape[1:]
    whole = torch.from_numpy(np.stack([kept.maps[1].astype(np.float32)]))
    levels, _ = model.trunk.levels(whole, 12, 17)
    upper = levels.mean((2, 3))[0].detach().numpy()
    assert np.allclose(upper, kept.features[1, kept.lower :], rtol=0.01, atol=0.01)


def test_maps_that_are_too_small_for_a_part_are_one_sentence() -> None:
    config = load_config(TuneConfig, Path("configs/training/tune-lite0.yaml"))
    kept = Kept(np.zeros((2, 3), np.float32), 1, [np.zeros((1, 4, 4), np.float16)] * 2)
    with pytest.raises(UsageError, match="maps of 14 cells a side or more, found none of photo"):
        MapBatches(kept, np.array([0, 1]), np.ones(2), np.zeros(2, bool), config)


def test_a_blended_face_is_learned_from_beside_its_target_cut_alike() -> None:
    config = TuneConfig(name="t", steps=1, batch=8, cells=4, mix=0.0, rank=1.0)
    ramp = np.arange(2 * 8 * 10, dtype=np.float16).reshape(2, 8, 10)
    kept = Kept(np.zeros((6, 3), np.float32), 2, [ramp, ramp, ramp, ramp + 0.5, ramp, ramp + 0.5])
    labels, blended = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 0, 1], bool)
    batches = MapBatches(kept, labels, np.ones(6), blended, config)
    found = set()
    for step in range(8):
        batch = batches.batch(step)
        real, fake = batch["maps"].chunk(2)
        for twin, one, other in zip(batch["twins"].tolist(), real, fake, strict=True):
            found.add(twin)
            if twin:
                assert torch.equal(one + 0.5, other)
        assert batch["label"].tolist() == [0.0] * 4 + [1.0] * 4
    assert found == {0.0, 1.0}


def test_a_prior_moves_scores_and_not_what_is_above_the_threshold() -> None:
    even = Calibration(temperature=2.0, bias=0.3, threshold=0.8)
    rare = with_prior(even, 0.2)
    for logit in (-3.0, 0.5, 3.072, 3.073, 9.0):
        odds = even.score(logit) / (1 - even.score(logit)) / 4
        assert rare.score(logit) == pytest.approx(odds / (1 + odds))
        assert (rare.score(logit) > rare.threshold) == (even.score(logit) > even.threshold)


def test_the_configuration_that_ships_is_valid() -> None:
    config = load_config(TuneConfig, Path("configs/training/tune-lite0.yaml"))
    assert config.kept < 16 and config.soup > 1


def test_what_has_no_tail_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "tune",
        str(data / "tune.yaml"),
        "--data",
        str(data),
        "--output",
        str(tmp_path / "run"),
    ]
    changed = ["--licence", "ours", "--set", "architecture=tiny_ladeda", "preprocessing=raw"]
    assert patchwatch.main([*words, *changed, "init=null"]) == 2
    assert "expected one of a Lite trunk" in " ".join(capsys.readouterr().err.split())
