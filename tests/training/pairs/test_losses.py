from __future__ import annotations

import torch
import torch.nn.functional as F

from training.pairs.losses import Critic, critic_loss, gradients, reconstruction_loss


def test_the_same_picture_costs_nothing_and_softness_more_than_its_error() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 32, 32)
    assert float(reconstruction_loss(x, x)) == 0
    soft = F.avg_pool2d(x, 3, stride=1, padding=1)
    noisy = x + (soft - x).flip(3)  # of the same error, yet with all the energy
    assert float(reconstruction_loss(x, soft)) > float(reconstruction_loss(x, noisy))


def test_the_critic_does_not_see_colour() -> None:
    critic = Critic()
    x = torch.rand(1, 3, 32, 32)
    assert torch.allclose(critic(x), critic(x + 0.3), atol=1e-4)


def test_the_critics_pull_is_a_share_of_the_rest() -> None:
    torch.manual_seed(0)
    x, again, critic = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), Critic()
    loss, alone = gradients(x, again, None, 0.3)
    same_loss, together = gradients(x, again, critic, 0.3)
    assert torch.equal(loss, same_loss)
    assert torch.allclose((together - alone).norm(), 0.3 * alone.norm(), rtol=1e-3)
    assert critic_loss(critic, x, again).item() > 0
