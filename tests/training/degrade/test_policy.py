from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from tests.training.pictures import smooth_noise
from training.degrade import Policy
from training.degrade.chain import Clip, Jpeg, Resize
from training.degrade.policy import Kind


def _chains(policy: Policy, number: int = 2000) -> list[tuple[object, ...]]:
    rng = np.random.default_rng(0)
    return [policy.draw(rng).steps for _ in range(number)]


def test_shares_are_those_of_the_policy() -> None:
    lengths = Counter(map(len, _chains(Policy())))
    assert lengths[0] / 2000 == pytest.approx(0.2, abs=0.03)
    assert lengths[2] / 2000 == pytest.approx(0.3, abs=0.03)
    assert lengths[1] / 2000 == pytest.approx(0.5, abs=0.03)


def test_every_number_lies_in_its_range() -> None:
    steps = [step for chain in _chains(Policy(), 4000) for step in chain]
    assert {type(s).__name__ for s in steps} == {
        *("Jpeg", "Webp", "Clip", "Resize", "Blur", "GaussianNoise", "PoissonNoise")
    }
    jpegs = [s for s in steps if isinstance(s, Jpeg)]
    assert {s.quality for s in jpegs} == set(range(40, 99))
    assert {s.encoder for s in jpegs} == {"libjpeg", "mjpeg"}
    assert {s.grid[0] for s in jpegs} == {s.grid[1] for s in jpegs} == set(range(16))
    for clip in (s for s in steps if isinstance(s, Clip)):
        low, high = (18, 32) if clip.codec == "h264" else (20, 34)
        assert low <= clip.crf <= high and 4 <= len(clip.moves) <= 8
        assert np.abs(np.diff(clip.moves, axis=0)).max() <= 2
        assert np.array(clip.moves).min(axis=0).tolist() == [0, 0]
    assert all(0.5 <= s.scale <= 1.5 for s in steps if isinstance(s, Resize))


def test_a_draw_follows_the_generator_and_so_does_its_crop() -> None:
    image = smooth_noise(np.random.default_rng(0), 96)
    for seed in range(12):
        one, two = (Policy().draw(np.random.default_rng(seed)) for _ in range(2))
        assert one == two
        assert np.array_equal(one.crop(image, 32), two.crop(image, 32))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_can_be_drawn_alone(kind: Kind) -> None:
    policy = Policy(untouched=0, two=0, single={kind: 1})
    image = smooth_noise(np.random.default_rng(0), 96)
    rng = np.random.default_rng(1)
    crops = [policy.draw(rng).crop(image, 32) for _ in range(2)]
    assert all(crop.shape == (32, 32, 3) for crop in crops)
    assert not np.array_equal(crops[0], crops[1])


def test_a_policy_is_read_from_yaml() -> None:
    text = """
        untouched: 0.5
        two: 0.5
        pairs: [{first: resize, then: jpeg}]
        jpeg_quality: [70, 70]
        scale: [0.75, 0.75]
        filters: [bicubic]
    """
    policy = Policy.model_validate(yaml.safe_load(text))
    chains = _chains(policy, 200)
    assert {len(chain) for chain in chains} == {0, 2}
    for chain in filter(None, chains):
        assert isinstance(chain[0], Resize) and chain[0].scale == 0.75
        assert isinstance(chain[1], Jpeg) and chain[1].quality == 70


@pytest.mark.parametrize(
    "wrong",
    [
        {"jpeg_quality": [90, 40]},
        {"jpeg_quality": [0, 40]},
        {"untouched": 0.8, "two": 0.3},
        {"single": {"sharpen": 1}},
        {"single": {"jpeg": 0}},
        {"pairs": []},
        {"webp": 3},
        {"filters": []},
    ],
)
def test_a_wrong_policy_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(wrong)
