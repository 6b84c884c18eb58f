"""The demonstration's material: photographs, and pictures that generators drew from a text.

All come with packages: the photographs with scikit-image, in the public domain or CC0 as it
documents; the generated pictures with comfyui-workflow-templates-media-image (MIT), which names the
generator in each file's name. None of them was used for training. The generated ones were picked as
finds of an earlier model, from the package's 264 pictures. Nothing is ever enlarged, since
enlarging is among what the detector is asked to notice: the camera moves over a picture between its
own size and a slight reduction.

For faces there is one photograph, and the same with a generated face put onto it by `swapped`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edge.errors import MissingDependency
from edge.faces import Face, FaceFinder
from edge.faces.boxes import aligned_square
from edge.regions import resize_antialiased
from edge.sources.images import read_image
from edge.types import Image

FPS = 12
SECONDS_EACH = 4
SHOWN = 3
"""How many pictures of a kind are shown, of those that are scored."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of both halves.

    Attributes:
        name: what it is.
        label: ground truth: real 0, fake 1.
        package: the module that ships the pictures.
        needs: what pip calls it.
        folder: inside of the package.
        files: in that folder.
        size_hw: of the clip, no larger than any of the pictures.
    """

    name: str
    label: Literal[0, 1]
    package: str
    needs: str
    folder: str
    files: tuple[str, ...]
    size_hw: tuple[int, int]

    def paths(self) -> list[Path]:
        """Where the pictures are.

        Raises:
            MissingDependency: the package that ships them is not installed.
        """
        # The package is located and not imported: its imports would cost more than the demo.
        found = importlib.util.find_spec(self.package)
        if found is None or found.origin is None:
            raise MissingDependency(
                self.needs, f"show the {self.name} that it ships", "pip install 'patchwatch[demo]'"
            )
        return [Path(found.origin).parent / self.folder / name for name in self.files]


KINDS = (
    Kind(
        "photographs",
        0,
        "skimage",
        "scikit-image",
        "data",
        ("astronaut.png", "camera.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg"),
        (360, 480),
    ),
    Kind(
        "generated pictures",
        1,
        "comfyui_workflow_templates_media_image",
        "comfyui-workflow-templates-media-image",
        "templates",
        (
            "flux_canny_model_example-1.webp",
            "flux_schnell-1.webp",
            "sd3.5_large_canny_controlnet_example-1.webp",
            "sd3.5_large_depth-1.webp",
            "sd3.5_simple_example-1.webp",
            "sdxl_refiner_prompt_example-1.webp",
            "sdxl_revision_text_prompts-1.webp",
            "sdxl_simple_example-1.webp",
        ),
        (720, 960),
    ),
)


PORTRAIT = replace(KINDS[0], name="photograph", files=("astronaut.png",), size_hw=(480, 480))
FACE = replace(KINDS[1], files=("hidream_i1_dev-1.webp",))
SWAP = "swapped face"

_WIDE, _HIGH, _SOFT = 0.26, 0.34, 0.08
"""Half axes of the part of a face that is replaced, and its blend, in four eye distances."""


def swap() -> tuple[Image, Image]:
    """A photograph, and the same with the face of a generated picture; uint8 [H, W, 3] BGR."""
    (photograph,), (other,) = ([read_image(path) for path in k.paths()] for k in (PORTRAIT, FACE))
    with FaceFinder() as finder:
        faces = [max(finder.find(i), key=lambda face: face.score) for i in (photograph, other)]
    return photograph, swapped(photograph, faces[0], other, faces[1])


def swapped(picture: Image, face: Face, other: Image, new: Face) -> Image:
    """A picture whose face is another picture's: moved onto it, in its colours, with a soft edge.

    Args:
        picture: uint8 [H, W, 3] BGR.
        face: in it.
        other: uint8 BGR, any size.
        new: the face in that.
    """
    onto, _ = cv2.estimateAffinePartial2D(new.points, face.points)
    if onto is None:
        raise ValueError("the points of the faces do not match")
    height, width = picture.shape[:2]
    # Reducing without a blur would leave a pattern of its own.
    blur = max(0.5 / float(np.hypot(*onto[:, 0])) - 0.5, 1e-3)
    moved = cv2.warpAffine(
        cv2.GaussianBlur(other, (0, 0), blur),
        onto,
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    centre, right, _ = aligned_square(face.points, 4.0)
    side = float(np.hypot(*right))
    angle = float(np.degrees(np.arctan2(right[1], right[0])))
    box = (float(centre[0]), float(centre[1])), (2 * _WIDE * side, 2 * _HIGH * side), angle
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, box, (1.0,), cv2.FILLED, cv2.LINE_AA)
    lab, target = (
        cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.float32) for image in (moved, picture)
    )
    inside = mask > 0.5
    ours, theirs = lab[inside], target[inside]
    lab = (lab - ours.mean(axis=0)) / ours.std(axis=0) * theirs.std(axis=0) + theirs.mean(axis=0)
    moved = cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2BGR)
    share = cv2.GaussianBlur(mask, (0, 0), _SOFT * side)[..., None]
    blended: Image = np.rint(moved * share + picture * (1 - share)).astype(np.uint8)
    return blended


def frames(pictures: Iterable[Image], size_hw: tuple[int, int]) -> Iterator[Image]:
    """The frames of a clip, uint8 [h, w, 3] BGR: a slow pan and zoom over each picture."""
    steps = FPS * SECONDS_EACH
    for number, picture in enumerate(pictures):
        for step in range(steps):
            progress = step / (steps - 1)
            yield _view(picture, size_hw, progress if number % 2 == 0 else 1 - progress)


def _view(picture: Image, size_hw: tuple[int, int], progress: float) -> Image:
    height, width = size_hw
    room = min(picture.shape[0] / height, picture.shape[1] / width)
    reduction = 1 + (room - 1) * (1 - progress)
    h, w = round(height * reduction), round(width * reduction)
    top = round((picture.shape[0] - h) * progress)
    left = round((picture.shape[1] - w) * progress)
    crop = np.ascontiguousarray(picture[top : top + h, left : left + w])
    return resize_antialiased(crop, height, width)
