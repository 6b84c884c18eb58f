from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import ConfigError
from training.config import TrainConfig, load_train_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "training"
OTHERS = ("distill-", "probe-", "faces", "search")
FILES = sorted(p for p in CONFIGS.glob("*.yaml") if not p.stem.startswith(OTHERS))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid_and_names_its_model_as_the_file(path: Path) -> None:
    config = load_train_config(path)
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

    assert undescribed(TrainConfig.model_json_schema()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nsteps: 1\nratee: 1", r"unknown key 'ratee'. Did you mean 'rate'\?"),
        ("name: a\nsteps: 1\ndata: {corp: 1}", r"unknown key 'data.corp'. Did you mean 'crop'\?"),
        ("name: a\nsteps: 1\npolicy: {tow: 1}", r"unknown key 'policy.tow'. Did you mean 'two'\?"),
        ("name: a", "the key 'steps' is missing"),
        ("name: a\nsteps: 1\narchitecture: lenet", "'lenet' is not known; expected one of tiny"),
        ("name: a\nsteps: 1\nvalidation: {columns: [fog]}", "'fog' is no degradation"),
        ("name: a\nsteps: 1\nbatch: 3", "even number"),
        ("name: a\nsteps: 1\ndata: {labelled: false}", "no pairs"),
        ("name: a\nsteps: 1\ndata: {crop: 9, resize: 8}", "does not fit"),
        ("name: a\nsteps: 1\ndata: {layout: pile}", "'pile' is not known; expected one of auto"),
        ("name: a\nsteps: 0", "steps: .*greater than 0.*found 0"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_train_config(write(tmp_path, text))


def test_settings_are_laid_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\nsteps: 1\ndata: {crop: 64}")
    config = load_train_config(path, ["steps=7", "data.resize=80", "policy=null"], seed=3)
    assert (config.steps, config.data.crop, config.data.resize) == (7, 64, 80)
    assert config.policy is None and config.seed == 3


@pytest.mark.parametrize("setting", ["steps", "=1", "steps=[", "stepps=1"])
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match=r"--set"):
        load_train_config(write(tmp_path, "name: a\nsteps: 1"), [setting])
