from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import ConfigError
from training.config import DistillConfig, TrainConfig, load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "training"
OTHERS = ("distill-", "probe-", "tune-", "faces", "search")
FILES = sorted(p for p in CONFIGS.glob("*.yaml") if not p.stem.startswith(OTHERS))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid_and_names_its_model_as_the_file(path: Path) -> None:
    config = load_config(TrainConfig, path)
    assert config.name in (path.stem, f"{path.stem}-ladeda")


def test_there_are_shipped_files() -> None:
    assert len(FILES) >= 4


def test_every_key_is_described() -> None:
    def undescribed(schema: object) -> list[object]:
        if not isinstance(schema, dict):
            return []
        properties = schema.get("properties", {})
        inner = [name for name, p in properties.items() if not ("description" in p or "$ref" in p)]
        return inner + [name for part in schema.get("$defs", {}).values() for name in
                        undescribed(part) if part["title"].endswith("Config")]  # fmt: skip

    assert undescribed(DistillConfig.model_json_schema()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nsteps: 1\nratee: 1", r"unknown key 'ratee'. Did you mean 'rate'\?"),
        ("name: a\nsteps: 1\ndata: {corp: 1}", r"unknown key 'data.corp'. Did you mean 'crop'\?"),
        ("name: a\nsteps: 1\npolicy: {tow: 1}", r"unknown key 'policy.tow'. Did you mean 'two'\?"),
        ("name: a", "the key 'steps' is missing"),
        ("name: a\nsteps: 1\narchitecture: lenet", "'lenet' is not known; expected one of tiny"),
        ("name: a\nsteps: 1\nvalidation: {columns: [fog]}", "'fog' is not known"),
        ("name: a\nsteps: 1\nbatch: 3", "a multiple of 2"),
        ("name: a\nsteps: 1\ndata: {pairs: [a]}", "the key 'data.pairs' was removed, as learning"),
        ("name: a\nsteps: 1\npair_shares: [0]", "the key 'pair_shares' was removed"),
        ("name: a\nsteps: 1\ndata: 5", "data: expected keys and values"),
        ("name: a\nsteps: 1\ndata: {crop: 9, resize: 8}", "does not fit"),
        ("name: a\nsteps: 1\ndata: {layout: pile}", "'pile' is not known; expected one of auto"),
        ("name: a\nsteps: 1\nbatch: 6\naccumulate: 2", "a multiple of 4"),
        ("name: a\nsteps: 0", "steps: .*above 0.*found 0"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(TrainConfig, write(tmp_path, text))


def test_settings_override_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\nsteps: 1\ndata: {crop: 64}")
    config = load_config(TrainConfig, path, ["steps=7", "data.resize=80", "policy=null"], seed=3)
    assert (config.steps, config.data.crop, config.data.resize) == (7, 64, 80)
    assert config.policy is None and config.seed == 3


@pytest.mark.parametrize("setting", ["steps", "=1", "steps=[", "stepps=1"])
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match=r"--set"):
        load_config(TrainConfig, write(tmp_path, "name: a\nsteps: 1"), [setting])


DISTILLATIONS = sorted(CONFIGS.glob("distill-*.yaml"))


def test_there_is_a_shipped_file_for_each_way_of_distillation() -> None:
    configs = {path.stem: load_config(DistillConfig, path) for path in DISTILLATIONS}
    assert {name: config.name for name, config in configs.items()} == {n: n for n in configs}
    assert {config.teaching.way for config in configs.values()} == {"patches", "dense"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("teaching: {wya: dense}", r"unknown key 'teaching.wya'. Did you mean 'way'\?"),
        ("teaching: {way: patches, weight: 0.5}", "weight is 1; found 0.5. Use way: dense"),
        ("teaching: {way: patches, stride: 3}", "multiple of 2"),
        ("teaching: {temperature: 0}", "above 0"),
        ("teaching: {architecture: lenet}", "'lenet' is not known"),
        ("teaching: {sees: clean}", "the policy resizes. Leave resize out"),
        ("teaching: {sees: clean}\npolicy: {two: 0}", "the policy resizes"),
    ],
)
def test_a_wrong_file_of_a_distillation_is_one_sentence(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(DistillConfig, write(tmp_path, f"name: a\nsteps: 1\n{text}"))


TEACHER = {
    "architecture": "ladeda9", "preprocessing": "NPR", "batch": 32, "rate": 2e-4,
    "weight_decay": 0.0, "schedule": "plateau", "patience": 15, "factor": 0.9, "least_rate": 1e-6,
    "precision": "fp32", "policy": None, "data.resize": 256, "data.crop": 224, "data.flip": True,
    "data.first_compression": False, "validation.crop": 224, "validation.columns": ("untouched",),
}  # fmt: skip
"""Key → the value of options/*.py and networks/trainer.py, and of README's command for training, at
commit e734562bbb6763f5bb2951099e9dc9a38df5e7dd of RealTime-DeepfakeDetection-in-the-RealWorld."""

STUDENT = TEACHER | {
    "architecture": "tiny_ladeda", "preprocessing": "right_diag", "data.flip": False,
    "teaching.way": "patches", "teaching.loss": "mse", "teaching.stride": 8,
    "teaching.patches": 729,
}  # fmt: skip
"""Likewise of extract_patches.py and train_Tiny_LaDeDa.py; its loader has patches for a batch."""


@pytest.mark.parametrize(
    ("name", "original"),
    [("ladeda-wildrf", TEACHER), ("ladeda-forensynth", TEACHER), ("distill-paper", STUDENT)],
)
def test_a_published_protocol_is_followed_to_the_letter(
    name: str, original: dict[str, object]
) -> None:
    config = load_config(DistillConfig, CONFIGS / f"{name}.yaml")
    for key, value in original.items():
        found: object = config
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value, key
