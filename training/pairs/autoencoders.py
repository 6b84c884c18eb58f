"""Small autoencoders, all from one description, that differ in how their decoder up-samples.

The trace of a generated picture comes from its decoder's up-sampling; so each kind in use is here:
transposed convolution (as in DCGAN), nearest neighbour and convolution (as in the decoders of
latent diffusion), bilinear and convolution, and pixel shuffle.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from edge.types import Image

Upsampling = Literal["transposed", "nearest", "bilinear", "pixel_shuffle"]

GROUP = 2
"""Numbers that share a code."""

CODES = 256
COMMITMENT = 0.25
DECAY = 0.98
_LEAST_USE = 0.5
"""Running count of uses in a step below which a code moves to a latent that is in use."""

_GENTLE = 0.1
"""First scale of each residual branch, so that a fresh network is nearly a linear pyramid."""


class AutoencoderSpec(BaseModel):
    """All that makes one autoencoder different from another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    upsampling: Upsampling = Field(description="At every doubling of the decoder.")
    factor: Literal[4, 8] = Field(description="A latent stands for factor×factor pixels.")
    latent_channels: int = Field(gt=0, description="Numbers for each latent.")
    width: int = Field(default=32, gt=1, description="Channels at half the picture's size.")
    quantised: bool = Field(default=False, description="Latents are taken from codebooks.")

    @property
    def doublings(self) -> int:
        """Halvings of the encoder, and doublings of the decoder."""
        return self.factor.bit_length() - 1

    def channels(self, level: int) -> int:
        """Channels where the picture has been halved `level` times."""
        return (self.width // 2, self.width, self.width * 2, self.width * 4)[level]


def _specs() -> dict[str, AutoencoderSpec]:
    kinds: tuple[Upsampling, ...] = ("transposed", "nearest", "bilinear", "pixel_shuffle")
    latents: tuple[tuple[Literal[4, 8], int], ...] = ((4, 32), (8, 64))
    specs = {
        f"ae{factor}-{kind.replace('_', '-')}": AutoencoderSpec(
            upsampling=kind, factor=factor, latent_channels=channels
        )
        for factor, channels in latents
        for kind in kinds
    }
    for factor, channels in latents:
        specs[f"vq{factor}-nearest"] = AutoencoderSpec(
            upsampling="nearest", factor=factor, latent_channels=channels, quantised=True
        )
    return specs


SPECS: Final = MappingProxyType(_specs())
"""Name → description of those that are trained unless others are asked for."""


class Autoencoder(nn.Module):
    """Encoder, quantiser where there is one, decoder, as its spec says.

    `quantisation` is a scalar that the quantiser adds to the loss, of the last `forward` in
    training.
    """

    def __init__(self, spec: AutoencoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = _encoder(spec)
        self.quantiser = ProductQuantiser(spec.latent_channels) if spec.quantised else None
        self.decoder = _decoder(spec)
        self.quantisation = torch.zeros(())
        self.apply(_keep_scale)
        self.apply(_calm)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] BGR in 0..1 → the same, not clipped.

        H and W are multiples of the factor.
        """
        latents = self.encoder(x.contiguous(memory_format=torch.channels_last) * 2 - 1)
        if self.quantiser is not None:
            latents, self.quantisation = self.quantiser(latents)
        out: Tensor = self.decoder(latents) / 2 + 0.5
        return out


class ResidualBlock(nn.Module):
    """x + scale · conv(relu(conv(relu(x)))), without any norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] → the same."""
        out: Tensor = x + self.second(torch.relu(self.first(torch.relu(x))))
        return out


def doubling(kind: Upsampling, channels: int, out: int) -> nn.Module:
    """One doubling: [N, channels, h, w] → [N, out, 2h, 2w]."""
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)
    if kind == "pixel_shuffle":
        return nn.Sequential(nn.Conv2d(channels, out * 4, 3, padding=1), nn.PixelShuffle(2))
    mode = nn.Upsample(scale_factor=2, mode=kind)
    return nn.Sequential(mode, nn.Conv2d(channels, out, 3, padding=1))


def reconstruct(model: nn.Module, picture: Image) -> Image:
    """Send uint8 [H, W, 3] through an autoencoder, and round it as a generator saves it.

    The model takes [1, 3, H, W] in 0..1 in any colour order, as both sides have the same.
    """
    planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None] / 255.0
    with torch.inference_mode():
        again = (model(planes)[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(again.permute(1, 2, 0).numpy())


def _encoder(spec: AutoencoderSpec) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for level in range(1, spec.doublings + 1):
        out = spec.channels(level)
        layers += [nn.Conv2d(channels, out, 4, stride=2, padding=1), ResidualBlock(out)]
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(channels, spec.latent_channels, 3, padding=1))


def _decoder(spec: AutoencoderSpec) -> nn.Sequential:
    channels = spec.channels(spec.doublings)
    layers: list[nn.Module] = [nn.Conv2d(spec.latent_channels, channels, 3, padding=1)]
    layers += [ResidualBlock(channels), ResidualBlock(channels)]
    for level in reversed(range(spec.doublings)):
        out = spec.channels(level)
        layers += [doubling(spec.upsampling, channels, out), ResidualBlock(out)]
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1))


def _keep_scale(module: nn.Module) -> None:
    """First weights that pass a signal on at its own size: torch's own halve it in each layer."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        stride = module.stride[0] if isinstance(module, nn.ConvTranspose2d) else 1
        reached = module.in_channels * (module.kernel_size[0] // stride) ** 2
        nn.init.normal_(module.weight, std=reached**-0.5)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def _calm(module: nn.Module) -> None:
    if isinstance(module, ResidualBlock):
        with torch.no_grad():
            module.second.weight.mul_(_GENTLE)


class ProductQuantiser(nn.Module):
    """Replaces each group of a latent's channels by the nearest code of the group's codebook.

    With the running means and straight-through gradient of VQ-VAE (van den Oord et al., "Neural
    Discrete Representation Learning", 2017, equations 2 and 3, appendix A.1); a product quantiser,
    as one codebook for all of a latent would be far too coarse for more than 30 dB.

    Args:
        channels: of the latents, a multiple of `GROUP`.
    """

    codes: Tensor
    sums: Tensor
    counts: Tensor
    begun: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = channels // GROUP
        self.register_buffer("codes", torch.randn(groups, CODES, GROUP))
        self.register_buffer("sums", torch.zeros(groups, CODES, GROUP))
        self.register_buffer("counts", torch.zeros(groups, CODES))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, h, w] → codes in their places, [N, C, h, w], and the commitment loss, a scalar."""
        n, channels, h, w = latents.shape
        grouped = latents.permute(0, 2, 3, 1).reshape(n * h * w, -1, GROUP).transpose(0, 1)
        with torch.no_grad():
            if self.training:
                self._begin(grouped)
            chosen = self._nearest(grouped)
            if self.training:
                self._follow(grouped, chosen)
        found = self.codes.gather(1, chosen[..., None].expand(-1, -1, GROUP))
        commitment = COMMITMENT * F.mse_loss(grouped, found)
        passed = grouped + (found - grouped).detach()
        back = passed.transpose(0, 1).reshape(n, h, w, channels).permute(0, 3, 1, 2)
        return back, commitment

    def _nearest(self, grouped: Tensor) -> Tensor:
        # A latent's own square is the same for every code.
        squares = self.codes.square().sum(2)[:, None]
        return torch.baddbmm(squares, grouped, self.codes.transpose(1, 2), alpha=-2).argmin(2)

    def _begin(self, grouped: Tensor) -> None:
        if bool(self.begun):
            return
        self.codes.copy_(self._drawn(grouped))
        self.sums.copy_(self.codes)
        self.counts.fill_(1.0)
        self.begun.fill_(True)

    def _follow(self, grouped: Tensor, chosen: Tensor) -> None:
        uses = torch.zeros_like(self.counts).scatter_add_(
            1, chosen, torch.ones_like(grouped[..., 0])
        )
        places = chosen[..., None].expand(-1, -1, GROUP)
        self.counts.lerp_(uses, 1 - DECAY)
        self.sums.lerp_(torch.zeros_like(self.sums).scatter_add_(1, places, grouped), 1 - DECAY)
        unused = (self.counts < _LEAST_USE)[..., None]
        self.sums.copy_(torch.where(unused, self._drawn(grouped), self.sums))
        self.counts.clamp_(min=_LEAST_USE).masked_fill_(unused[..., 0], 1.0)
        self.codes.copy_(self.sums / self.counts[..., None])

    def _drawn(self, grouped: Tensor) -> Tensor:
        places = torch.randint(grouped.shape[1], (CODES,))
        return grouped[:, places]
