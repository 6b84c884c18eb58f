"""Crops, and the tensors that models take."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edge.regions import resize_antialiased
from edge.types import Batch, Image
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD


def part_at(image: Image, side: int, at: tuple[float, float]) -> Image:
    """A part of an image [H, W, 3], cut off at `side` rows and columns.

    `at` says where in the room that is left, rows then columns, 0..1.
    """
    height, width = image.shape[:2]
    top, left = (int(max(n - side, 0) * p + 0.5) for n, p in zip((height, width), at, strict=True))
    return image[top : top + side, left : left + side]


def centre_crop(image: Image, side: int) -> Image:
    """The middle of an image [H, W, 3], at most side×side pixels."""
    return part_at(image, side, (0.5, 0.5))


def resized(image: Image, side: int | None) -> Image:
    """An image as the region `resize:side` has it, side×side pixels; as it is if None."""
    return resize_antialiased(image, side, side) if side else image


def normalised(pixels: Image | Batch, device: torch.device | None = None) -> Tensor:
    """uint8 […, H, W, 3] BGR on the CPU → float32 […, 3, H, W] RGB on `device`, ImageNet-
    normalised.
    """
    return model_input(torch.from_numpy(np.array(pixels)).to(device))


def model_input(frames: Tensor) -> Tensor:
    """uint8 […, H, W, 3] BGR → float32 […, 3, H, W] RGB, ImageNet-normalised, channels last."""
    mean = torch.tensor(IMAGENET_MEAN, device=frames.device)
    std = torch.tensor(IMAGENET_STD, device=frames.device)
    return frames.flip(-1).float().div_(255.0).sub_(mean).div_(std).movedim(-1, -3)
