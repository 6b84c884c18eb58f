"""How near a reconstruction comes to its photograph, and whether it is as sharp."""

from __future__ import annotations

import math

import numpy as np

from edge.types import Image

HALF_NYQUIST = 0.25
"""In cycles a pixel; above it lies what softness takes away."""

_LUMA_BGR = np.array((0.114, 0.587, 0.299))


def psnr_db(picture: Image, again: Image) -> float:
    """Peak signal-to-noise ratio in dB of uint8 [H, W, 3] over what both cover; at most 138."""
    height, width = again.shape[:2]
    difference = picture[:height, :width].astype(np.float64) - again
    return 10 * math.log10(255**2 / max(float((difference**2).mean()), 1e-9))


def hf_energy(picture: Image) -> float:
    """Energy of the luma above half the Nyquist frequency, under a Hann window.

    Args:
        picture: uint8 [H, W, 3] BGR.
    """
    luma = picture @ _LUMA_BGR
    height, width = luma.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.rfft2((luma - luma.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    return float(power[radius > HALF_NYQUIST].sum())


def hf_ratio(picture: Image, again: Image) -> float:
    """High-frequency energy of a reconstruction over its photograph's: 1 is as sharp, 0 is soft."""
    return hf_energy(again) / max(hf_energy(picture), 1e-9)
