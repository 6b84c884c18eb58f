"""Tiny autoencoders of Stable-Diffusion-like latents, read from other people's weights.

A file for the encoder and one for the decoder, each a state dict as `.pth` or `.safetensors`, with
keys `LAYER.…` after the place of a layer in the list. The structure is that of madebyollin/taesd
(MIT licence): three halvings, blocks of three convolutions, 64 channels. Latent channels, and
whether the blocks in the middle add a normalised branch, show in the tensors' names and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from edge.errors import ModelError
from edge.types import Image
from training.checkpoint import SUFFIX, read_state_dict
from training.pairs.autoencoders import reconstruct
from training.pairs.decoder_file import fingerprint

WIDTH = 64
FACTOR = 8
_NORM_GROUPS = 4
_WIDENING = 4
_LIMIT = 3.0


class TinyAutoencoder:
    """A reconstructor of such a couple of files.

    Raises:
        ModelError: a file is missing, is no state dict, or is not of this form; or the two do not
            belong together.
    """

    factor = FACTOR

    def __init__(self, encoder: Path, decoder: Path, name: str | None = None) -> None:
        of_encoder, of_decoder = _state(encoder), _state(decoder)
        latents = _latent_channels(of_decoder, decoder)
        normed = any(".pool." in key for key in of_decoder)
        self.name = name or decoder.stem.replace("_decoder", "").replace("-decoder", "")
        print_of = fingerprint(encoder, decoder)
        self.made_by = f"tiny autoencoder {encoder.name} and {decoder.name} {print_of}"
        self._model = nn.Sequential(
            _filled(encoder_layers(latents, normed), of_encoder, encoder),
            _filled(decoder_layers(latents, normed), of_decoder, decoder),
        ).eval()

    def __call__(self, picture: Image) -> Image:
        """uint8 [H, W, 3] BGR → the same, H and W multiples of 8."""
        # These networks take RGB.
        return reconstruct(self._model, picture[:, :, ::-1])[:, :, ::-1].copy()


class _Block(nn.Module):
    """Three convolutions beside the identity, and before them a normalised branch in the middle."""

    def __init__(self, normed: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH)
        )
        wide = WIDTH * _WIDENING
        self.pool = (
            nn.Sequential(
                nn.Conv2d(WIDTH, wide, 1, bias=False),
                nn.GroupNorm(_NORM_GROUPS, wide),
                nn.ReLU(),
                nn.Conv2d(wide, WIDTH, 1, bias=False),
            )
            if normed
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class _SoftLimit(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / _LIMIT) * _LIMIT


def encoder_layers(latents: int, normed: bool) -> nn.Sequential:
    """RGB in 0..1, [N, 3, H, W] → latents, [N, latents, H/8, W/8]."""
    layers: list[nn.Module] = [_conv(3, WIDTH), _Block()]
    for level in range(3):
        layers.append(_conv(WIDTH, WIDTH, stride=2, bias=False))
        layers += [_Block(normed and level == 2) for _ in range(3)]
    return nn.Sequential(*layers, _conv(WIDTH, latents))


def decoder_layers(latents: int, normed: bool) -> nn.Sequential:
    """Latents, [N, latents, h, w] → RGB near 0..1, [N, 3, 8h, 8w]."""
    layers: list[nn.Module] = [_SoftLimit(), _conv(latents, WIDTH), nn.ReLU()]
    for level in range(3):
        layers += [_Block(normed and level == 0) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), _conv(WIDTH, WIDTH, bias=False)]
    return nn.Sequential(*layers, _Block(), _conv(WIDTH, 3))


def find_encoder(decoder: Path) -> Path:
    """The encoder's file that lies beside a decoder's, its name with `encoder` for `decoder`.

    Raises:
        ModelError: there is none.
    """
    encoder = decoder.with_name(decoder.name.replace("decoder", "encoder"))
    if encoder == decoder or not encoder.is_file():
        raise ModelError(
            f"{decoder}: expected a tiny autoencoder as NAME_decoder{decoder.suffix} with "
            f"NAME_encoder{decoder.suffix} beside it, found no {encoder.name} of its own."
        )
    return encoder


def _conv(channels: int, out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=bias)


def _state(path: Path) -> dict[str, Tensor]:
    if path.suffix != SUFFIX:
        return read_state_dict(path)
    try:
        return parse_safetensors(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise ModelError(f"{path}: expected a file of tensors, found something else.") from error


def _latent_channels(state: Mapping[str, Tensor], path: Path) -> int:
    first = state.get("1.weight")
    if first is None or first.ndim != 4 or first.shape[0] != WIDTH:
        found = "none" if first is None else f"shape {list(first.shape)}"
        raise ModelError(
            f"{path}: expected the decoder of a tiny autoencoder with 1.weight of shape "
            f"[{WIDTH}, latents, 3, 3], found {found}. Variants with other widths are not known "
            "here."
        )
    return int(first.shape[1])


def _filled(layers: nn.Sequential, state: Mapping[str, Tensor], path: Path) -> nn.Sequential:
    wanted = {key: list(value.shape) for key, value in layers.state_dict().items()}
    found = {key: list(value.shape) for key, value in state.items()}
    for key in [*wanted, *found]:
        if wanted.get(key) != found.get(key):
            raise ModelError(
                f"{path} is no part of this tiny autoencoder: expected {key} of shape "
                f"{wanted.get(key, 'none')}, found {found.get(key, 'none')}. Name an encoder and a "
                "decoder that belong together."
            )
    layers.load_state_dict(state)
    return layers
