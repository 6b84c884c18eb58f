"""The demonstration's clip: photographs in slow motion, then the same after a neural decoder.

Nothing is ever enlarged, since enlarging is what the detector is asked to notice: the camera moves
over a photograph between its own size and a slight reduction.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from edge.errors import MissingDependency
from edge.regions import resize_antialiased
from edge.sources.images import read_image
from edge.types import Image

PHOTOGRAPHS = ("astronaut.png", "coffee.png", "rocket.jpg")
"""All in the public domain or CC0, as scikit-image, which ships them, documents."""

SIZE_HW = (360, 480)
FPS = 25
SECONDS_EACH = 3
DECODER = Path(__file__).with_name("upsampler.onnx")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A half of the clip.

    Attributes:
        name: what it shows.
        label: ground truth: real 0, fake 1.
        pictures: uint8 [H, W, 3] BGR, each at least as large as the clip.
    """

    name: str
    label: Literal[0, 1]
    pictures: tuple[Image, ...]

    @property
    def length(self) -> int:
        """Frames that `frames` yields."""
        return len(self.pictures) * FPS * SECONDS_EACH


def load_parts() -> tuple[Part, Part]:
    """The photographs, and what the decoder makes of them.

    Raises:
        MissingDependency: scikit-image, which ships the photographs, is not installed.
        SourceError: it is, and a photograph is not.
    """
    photographs = tuple(read_image(path) for path in _photograph_paths())
    decoded = tuple(decode(image) for image in photographs)
    return Part("photographs", 0, photographs), Part("after a neural decoder", 1, decoded)


def decode(image: Image) -> Image:
    """Halve a picture and let the up-sampling network draw it again.

    Args:
        image: uint8 [H, W, 3] BGR.

    Returns:
        The same size, less an odd last row or column.
    """
    session = ort.InferenceSession(str(DECODER), providers=["CPUExecutionProvider"])
    (picture,) = session.run(None, {session.get_inputs()[0].name: image[None]})
    result: Image = picture[0]
    return result


def frames(part: Part) -> Iterator[Image]:
    """The frames of a part, uint8 [360, 480, 3] BGR: a slow pan and zoom over each picture."""
    steps = FPS * SECONDS_EACH
    for number, picture in enumerate(part.pictures):
        for step in range(steps):
            progress = step / (steps - 1)
            yield _view(picture, progress if number % 2 == 0 else 1 - progress)


def _view(picture: Image, progress: float) -> Image:
    height, width = SIZE_HW
    room = min(picture.shape[0] / height, picture.shape[1] / width)
    reduction = 1 + (room - 1) * (1 - progress)
    h, w = round(height * reduction), round(width * reduction)
    top = round((picture.shape[0] - h) * progress)
    left = round((picture.shape[1] - w) * progress)
    crop = np.ascontiguousarray(picture[top : top + h, left : left + w])
    return resize_antialiased(crop, height, width)


def _photograph_paths() -> list[Path]:
    # The package is located and not imported: its own imports would cost more than the demo.
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise MissingDependency(
            "scikit-image", "show the photographs that it ships", "pip install 'patchwatch[demo]'"
        )
    return [Path(found.origin).parent / "data" / name for name in PHOTOGRAPHS]
