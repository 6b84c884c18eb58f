from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import ConfigError
from training.distil.config import TeachingConfig, load_distil_config

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "training"
FILES = sorted(CONFIGS.glob("distill-*.yaml"))
START = "name: a\nsteps: 1\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid_and_names_its_model_as_the_file(path: Path) -> None:
    config = load_distil_config(path)
    assert config.name == path.stem and config.architecture == "tiny_ladeda"


def test_there_is_a_file_for_each_way() -> None:
    assert {load_distil_config(path).teaching.way for path in FILES} == {"patches", "dense"}


def test_every_key_is_described() -> None:
    properties = TeachingConfig.model_json_schema()["properties"]
    assert all(part.get("description") for part in properties.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("teaching: {wya: dense}", r"unknown key 'teaching.wya'. Did you mean 'way'\?"),
        ("teaching: {way: patches, weight: 0.5}", "weight is 1; found 0.5. Use way: dense"),
        ("teaching: {way: patches, stride: 3}", "multiple of 2"),
        ("teaching: {temperature: 0}", "greater than 0"),
        ("teaching: {architecture: lenet}", "'lenet' is not known"),
        ("teaching: {sees: clean}", "the policy resizes. Leave resize out"),
        ("teaching: {sees: clean}\npolicy: {two: 0}", "the policy resizes"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(START + text)
    with pytest.raises(ConfigError, match=message):
        load_distil_config(path)


def test_clean_samples_are_two_crops(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(START + "teaching: {sees: clean}\npolicy: {two: 0, single: {jpeg: 1}}")
    policy = load_distil_config(path).samples(0).policy
    assert policy is not None
    chain = policy.draw(np.random.default_rng(0))
    assert chain.crop(np.zeros((64, 64, 3), np.uint8), 32).shape == (2, 32, 32, 3)
    path.write_text(START + "teaching: {sees: clean}\npolicy: null")
    config = load_distil_config(path)
    assert config.samples(0).policy is None and not config.sees_clean
