from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.pictures import smooth_noise
from training.pairs.autoencoders import (
    CODES,
    GROUP,
    SPECS,
    Autoencoder,
    ProductQuantiser,
    reconstruct,
)


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


def test_every_group_of_a_latent_is_a_code_and_gradients_pass_straight_through() -> None:
    torch.manual_seed(0)
    quantiser = ProductQuantiser(4)
    latents = torch.randn(2, 4, 8, 8, requires_grad=True)
    quantiser(latents)
    back, commitment = quantiser.eval()(latents)
    for group in range(2):
        vectors = back[:, group * GROUP : (group + 1) * GROUP].permute(0, 2, 3, 1).reshape(-1, 2)
        assert torch.cdist(vectors, quantiser.codes[group]).min(1).values.max() < 1e-3
    (gradient,) = torch.autograd.grad(back.sum() + 0 * commitment, latents)
    assert torch.allclose(gradient, torch.ones_like(gradient))


def test_codes_follow_the_latents() -> None:
    torch.manual_seed(0)
    quantiser = ProductQuantiser(2)
    errors = []
    for _ in range(60):
        _, commitment = quantiser(torch.randn(4, 2, 16, 16) * 3 + 5)
        errors.append(commitment.item())
    assert sum(errors[-10:]) < sum(errors[:10])
    assert quantiser.codes.mean().item() > 4 and quantiser.codes.shape == (1, CODES, GROUP)


def test_nothing_moves_outside_training() -> None:
    quantiser = ProductQuantiser(2).eval()
    before = quantiser.codes.clone()
    quantiser(torch.randn(1, 2, 4, 4))
    assert torch.equal(quantiser.codes, before)
