from __future__ import annotations

import torch

from training.pairs.quantise import CODES, GROUP, ProductQuantiser


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
