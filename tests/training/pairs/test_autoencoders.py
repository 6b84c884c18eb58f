from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.pictures import smooth_noise
from training.pairs.autoencoders import SPECS, Autoencoder, reconstruct


@pytest.mark.parametrize("name", SPECS)
def test_each_reduces_by_its_factor_and_restores_the_size(name: str) -> None:
    spec = SPECS[name]
    model = Autoencoder(spec)
    picture = torch.rand(1, 3, 32, 16)
    latents = model.encoder(picture)
    side = 32 // spec.factor
    assert latents.shape == (1, spec.latent_channels, side, side // 2)
    assert model(picture).shape == picture.shape
    assert name.startswith("vq" if spec.quantised else "ae") and str(spec.factor) in name


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("ae4-transposed", nn.ConvTranspose2d, 2),
        ("ae8-nearest", nn.Upsample, 3),
        ("ae8-bilinear", nn.Upsample, 3),
        ("ae4-pixel-shuffle", nn.PixelShuffle, 2),
    ],
)
def test_the_decoder_up_samples_in_the_named_way(
    name: str, kind: type[nn.Module], count: int
) -> None:
    found = [m for m in Autoencoder(SPECS[name]).decoder.modules() if isinstance(m, kind)]
    assert len(found) == count
    modes = {m.mode for m in found if isinstance(m, nn.Upsample)}
    assert modes <= {name.split("-")[1]}


def test_first_weights_pass_a_signal_on() -> None:
    torch.manual_seed(0)
    for name in (name for name in SPECS if name.startswith("ae")):
        with torch.no_grad():
            assert 0.1 < float(Autoencoder(SPECS[name])(torch.rand(2, 3, 32, 32)).std()) < 2


def test_a_reconstruction_is_rounded_and_clipped() -> None:
    picture = smooth_noise(np.random.default_rng(0), 32)
    assert np.array_equal(reconstruct(nn.Identity(), picture), picture)

    class Bright(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 2

    assert (reconstruct(Bright(), picture) == 255).all()
