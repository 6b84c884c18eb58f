"""Small autoencoders, all from one description, that differ in how their decoder up-samples.

The trace of a generated picture comes from its decoder's up-sampling; so each kind in use is here:
transposed convolution (as in DCGAN), nearest neighbour and convolution (as in the decoders of
latent diffusion), bilinear and convolution, and pixel shuffle. On disk one is `NAME.safetensors`
with its card `NAME.json`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor, nn

from edge.errors import ModelError
from edge.files import written_whole
from edge.schema import Strict, fault
from edge.types import Image
from training.checkpoint import card_path

Upsampling = Literal["transposed", "nearest", "bilinear", "pixel_shuffle"]

HALF_NYQUIST = 0.25
"""In cycles a pixel; above it lies what softness takes away."""

_GENTLE = 0.1
"""First scale of each residual branch, so that a fresh network is nearly a linear pyramid."""

_LUMA_BGR = np.array((0.114, 0.587, 0.299))


class AutoencoderSpec(Strict):
    """All that makes one autoencoder different from another."""

    upsampling: Upsampling = Field(description="At every doubling of the decoder.")
    factor: Literal[4, 8] = Field(description="A latent stands for factor×factor pixels.")
    latent_channels: int = Field(gt=0, description="Numbers for each latent.")
    width: int = Field(default=32, gt=1, description="Channels at half the picture's size.")
    quantised: Literal[False] = Field(
        default=False, description="Those with codebooks, of an earlier version, are no more."
    )


SPECS: Final = MappingProxyType(
    {
        f"ae{factor}-{kind.replace('_', '-')}": AutoencoderSpec(
            upsampling=kind, factor=factor, latent_channels=8 * factor
        )
        for factor in (4, 8)
        for kind in ("transposed", "nearest", "bilinear", "pixel_shuffle")
    }
)
"""Name → description of those that are trained unless others are asked for."""


class Autoencoder(nn.Module):
    """Encoder and decoder, as its spec says."""

    def __init__(self, spec: AutoencoderSpec) -> None:
        super().__init__()
        self.spec = spec
        doublings = spec.factor.bit_length() - 1
        widths = [3, *(spec.width << level for level in range(doublings))]
        encoder: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            encoder += [nn.Conv2d(inputs, outputs, 4, 2, 1), ResidualBlock(outputs)]
        self.encoder = nn.Sequential(*encoder, _conv(widths[-1], spec.latent_channels))
        widths[0] = spec.width // 2
        decoder: list[nn.Module] = [_conv(spec.latent_channels, widths[-1])]
        decoder += [ResidualBlock(widths[-1]), ResidualBlock(widths[-1])]
        for outputs, inputs in reversed(list(pairwise(widths))):
            decoder += [doubling(spec.upsampling, inputs, outputs), ResidualBlock(outputs)]
        self.decoder = nn.Sequential(*decoder, _conv(widths[0], 3))
        self.apply(_keep_scale)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] BGR in 0..1 → the same, not clipped.

        H and W are multiples of the factor.
        """
        latents = self.encoder(x.contiguous(memory_format=torch.channels_last) * 2 - 1)
        out: Tensor = self.decoder(latents) / 2 + 0.5
        return out


class ResidualBlock(nn.Module):
    """x + scale · conv(relu(conv(relu(x)))), without any norm; [N, C, h, w] → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch."""
        out: Tensor = x + self.second(torch.relu(self.first(torch.relu(x))))
        return out


def doubling(kind: Upsampling, channels: int, out: int) -> nn.Module:
    """One doubling: [N, channels, h, w] → [N, out, 2h, 2w]."""
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)
    if kind == "pixel_shuffle":
        return nn.Sequential(_conv(channels, out * 4), nn.PixelShuffle(2))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=kind), _conv(channels, out))


def reconstruct(model: Autoencoder, picture: Image) -> Image:
    """Send uint8 [H, W, 3] BGR through an autoencoder, and round it as a generator saves it."""
    planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None] / 255.0
    with torch.inference_mode():
        again = (model(planes)[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(again.permute(1, 2, 0).numpy())


def quality(picture: Image, again: Image) -> tuple[float, float]:
    """Of a reconstruction PSNR in dB, at most 138, and high-frequency energy over its photograph's.

    A ratio of 1 is as sharp, 0 is soft. Both uint8 [H, W, 3] BGR.
    """
    error = float(((picture.astype(np.float64) - again) ** 2).mean())
    ratio = _hf_energy(again) / max(_hf_energy(picture), 1e-9)
    return 10 * math.log10(255**2 / max(error, 1e-9)), ratio


def _hf_energy(picture: Image) -> float:
    """Energy of the luma above half the Nyquist frequency, under a Hann window."""
    luma = picture @ _LUMA_BGR
    height, width = luma.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.rfft2((luma - luma.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    return float(power[radius > HALF_NYQUIST].sum())


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _keep_scale(module: nn.Module) -> None:
    """First weights that pass a signal on at its own size: torch's own halve it in each layer."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        stride = module.stride[0] if isinstance(module, nn.ConvTranspose2d) else 1
        reached = module.in_channels * (module.kernel_size[0] // stride) ** 2
        nn.init.normal_(module.weight, std=reached**-0.5)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
    elif isinstance(module, ResidualBlock):  # after its layers
        with torch.no_grad():
            module.second.weight.mul_(_GENTLE)


class DecoderCard(Strict):
    """What is known of an autoencoder besides its weights."""

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    spec: AutoencoderSpec
    psnr_db: float = Field(description="Mean over the held-out photographs.")
    hf_ratio: float = Field(description="Median over them: high-frequency energy kept.")
    held_out: int = Field(description="Photographs that it was judged on.")
    photographs: str = Field(description="That it was trained on.")
    steps: int
    seconds: float = Field(default=0.0, description="That the steps took.")
    crop: int
    batch: int
    seed: int
    commit: str | None = None


def save_decoder(path: Path, model: Autoencoder, card: DecoderCard) -> None:
    """Write weights and card, each whole or not at all; a SinkError where they cannot be."""
    state = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    text = card.model_dump_json(indent=2) + "\n"
    with (
        written_whole(path, dump_safetensors(state)),
        written_whole(card_path(path), text.encode()),
    ):
        pass


def load_decoder(path: Path) -> tuple[Autoencoder, DecoderCard]:
    """Read `NAME.safetensors` with `NAME.json`: the autoencoder in evaluation mode, its card.

    Raises:
        ModelError: a file is missing or broken, or the weights are not those of the card.
    """
    try:
        card = DecoderCard.model_validate_json(card_path(path).read_bytes())
        model = Autoencoder(card.spec)
        model.load_state_dict(parse_safetensors(path.read_bytes()))
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise ModelError(
            f"{card_path(path)} is no card of an autoencoder: {fault(error, 'the file')}. Train it "
            "again with `patchwatch pairs train`."
        ) from error
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"{path} does not hold the weights that {card_path(path).name} describes ({reason}). "
            "Expected those that `patchwatch pairs train` wrote."
        ) from error
    return model.eval(), card
