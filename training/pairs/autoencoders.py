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
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from edge.types import Image
from training.pairs.quantise import ProductQuantiser

Upsampling = Literal["transposed", "nearest", "bilinear", "pixel_shuffle"]

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
