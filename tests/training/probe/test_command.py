from __future__ import annotations

import json
from pathlib import Path

import pytest

import patchwatch
from tests.training.pictures import index_folder, write_data
from training.checkpoint import load_checkpoint
from training.config import load_config
from training.degrade import JPEG_90, UNTOUCHED
from training.evaluation import evaluate
from training.probe.config import ProbeConfig

CONFIG = """
name: probed
architecture: tiny_ladeda
preprocessing: NPR
views: [{crop: 40, count: 2}, {region: 'fit:64'}]
region: fit:64
folds: 2
strengths: [0.1, 1]
whitenings: [0, 10]
policy: {untouched: 1, two: 0}
data: {crop: 40}
validation: {columns: [untouched, JPEG 90]}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), CONFIG, 6, 4)


def _probe(data: Path, output: Path, *flags: str) -> int:
    words = ["probe", str(data / "c.yaml"), "--data", str(data), "--output", str(output)]
    machine = ["--workers", "0", "--threads", "1", "--licence", "none"]
    return patchwatch.main([*words, *machine, *flags])


def test_a_head_on_an_untrained_trunk_learns_an_easy_difference(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _probe(data, tmp_path / "run") == 0
    model, card = load_checkpoint(tmp_path / "run" / "probed.safetensors")
    evaluation = evaluate(model, index_folder(data / "val").pictures, [UNTOUCHED, JPEG_90])
    assert evaluation.mean_auc([UNTOUCHED]) > 0.9
    # What was measured on features is what the model does on pictures.
    auc = next(f for f in card.validation if f.degradation == JPEG_90 and "auc" in f.metric)
    assert auc.value == pytest.approx(evaluation.mean_auc([JPEG_90]), abs=2e-3)
    tried = json.loads((tmp_path / "run" / "tried.json").read_text())
    assert [(t["strength"], t["whitening"]) for t in tried] == [
        (0.1, 0),
        (0.1, 10),
        (1, 0),
        (1, 10),
    ]
    assert "strength" in capsys.readouterr().err
    # A second run goes on from the features and gives the same head.
    before = (tmp_path / "run" / "probed.safetensors").read_bytes()
    assert _probe(data, tmp_path / "run", "--resume") == 0
    assert (tmp_path / "run" / "probed.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("views=[{region: 'fit:9', crop: 8}]", "crop is for region native"),
        ("folds=1", "at least 2 parts"),
        ("folds=3", "at most one for each source"),
        ("strengths=[0]", "above 0"),
        ("whitenings=[-1]", "at least 0"),
        ("init=imagenet", "no published ImageNet weights"),
        ("sampels=3", "sampels"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    data: Path, tmp_path: Path, setting: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _probe(data, tmp_path / "run", "--set", setting) in (1, 2)
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told


CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "training"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("probe-*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_are_some(path: Path) -> None:
    assert load_config(ProbeConfig, path).architecture.startswith("lite0_")
