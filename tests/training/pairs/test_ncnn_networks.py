from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import ModelError
from edge.types import Image
from tests.training.pictures import smooth_noise
from training.pairs.quality import psnr_db

pytest.importorskip("ncnn", reason="needs ncnn (pip install ncnn)")

from training.pairs.ncnn_networks import EnlargingNetwork  # only where ncnn is there

BICUBIC = "Interp up 1 1 data out 0=3 1={0}.0 2={0}.0"
IDENTITY = "Convolution same 1 1 data mid 0=3 1=3 5=1 6=81"  # no padding: eats one pixel a side


def write(folder: Path, *layers: str, blobs: int = 2, weights: bytes = b"") -> Path:
    lines = ["7767517", f"{len(layers) + 1} {blobs}", "Input data 0 1 data", *layers]
    param = folder / "models-made" / "up.param"
    param.parent.mkdir()
    param.write_text("\n".join(lines) + "\n")
    param.with_suffix(".bin").write_bytes(weights)
    return param


def kernel(middle: float) -> bytes:
    values = np.zeros((3, 3, 3, 3), np.float32)
    values[range(3), range(3), 1, 1] = middle
    return bytes(4) + values.tobytes() + np.zeros(3, np.float32).tobytes()


def photograph(side: int = 96) -> Image:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 120, side)[:, None, None] + np.linspace(0, 60, side)[None, :, None]
    return np.clip(ramp + smooth_noise(rng, side) / 4, 0, 255).astype(np.uint8)


def peak(picture: Image, again: Image) -> tuple[int, int]:
    shifts = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    inner = (slice(4, -4), slice(4, -4))
    moved = {s: psnr_db(picture[inner], np.roll(again, s, (0, 1))[inner]) for s in shifts}
    return max(moved, key=lambda shift: moved[shift])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_result_lies_on_the_photograph(tmp_path: Path, scale: int) -> None:
    network = EnlargingNetwork(write(tmp_path, BICUBIC.format(scale)))
    assert network.factor == scale * 4 and network.name == "made-up"
    picture = photograph()
    again = network(picture)
    assert again.shape == picture.shape and peak(picture, again) == (0, 0)
    assert psnr_db(picture, again) > 25


def test_the_rim_that_a_network_eats_is_put_around_first(tmp_path: Path) -> None:
    enlarge = BICUBIC.format(2).replace("data", "mid")
    whole = EnlargingNetwork(write(tmp_path, IDENTITY, enlarge, blobs=3, weights=kernel(1)))
    picture = photograph()
    again = whole(picture)
    assert again.shape == picture.shape and peak(picture, again) == (0, 0)
    (tmp_path / "plain").mkdir()
    plain = EnlargingNetwork(write(tmp_path / "plain", BICUBIC.format(2)))
    assert psnr_db(again, plain(picture)) > 45


def test_a_network_of_differences_is_added_to_the_enlarged_picture(tmp_path: Path) -> None:
    enlarge = BICUBIC.format(2).replace("data", "mid")
    nothing = EnlargingNetwork(write(tmp_path, IDENTITY, enlarge, blobs=3, weights=kernel(0)))
    picture = photograph()
    again = nothing(picture)
    assert np.array_equal(again[::2, ::2], again[1::2, 1::2]) and psnr_db(picture, again) > 25


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((BICUBIC.format(1),), "enlarges a picture 2, 3 or 4 times"),
        (("Convolution c 1 1 data out 0=8 1=3 4=1 5=1 6=1296",), "found one of 18"),
        (("Broken",), "ncnn's text form"),
    ],
)
def test_other_networks_are_refused(tmp_path: Path, layers: tuple[str, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        EnlargingNetwork(write(tmp_path, *layers))


def test_missing_weights_and_files(tmp_path: Path) -> None:
    param = write(tmp_path, BICUBIC.format(2))
    param.with_suffix(".bin").unlink()
    with pytest.raises(ModelError, match=r"expected its weights as up\.bin"):
        EnlargingNetwork(param)
    with pytest.raises(ModelError, match="cannot be read as the text form"):
        EnlargingNetwork(tmp_path / "absent.param")
