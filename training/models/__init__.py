"""The networks that patchwatch trains and exports, one file each.

A new one is a subclass of `Model` (or `PatchModel`) in a file of its own and an entry below.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edge.errors import UsageError
from training.models.base import Model, PatchModel
from training.models.ladeda import WIDE_LAYERS, LaDeDa
from training.models.lite import TRUNKS, LiteModel
from training.models.preprocess import PREPROCESSINGS
from training.models.resnet18 import ResNet18, is_resnet18, resnet18_named
from training.models.tiny_ladeda import TinyLaDeDa

__all__ = ["ARCHITECTURES", "PREPROCESSINGS", "Model", "PatchModel", "ResNet18"]
__all__ += ["build", "build_any"]

ARCHITECTURES: dict[str, Callable[[str, str], PatchModel]] = {
    "tiny_ladeda": TinyLaDeDa,
    **{f"ladeda{side}": partial(LaDeDa, receptive_field=side) for side in WIDE_LAYERS},
    **dict.fromkeys(TRUNKS, LiteModel),
}
"""Name of a patch model → what builds it from (architecture, preprocessing)."""


def build(architecture: str, preprocessing: str) -> PatchModel:
    """A patch model with fresh weights, in training mode.

    Args:
        architecture: one of `ARCHITECTURES`.
        preprocessing: one of `PREPROCESSINGS`.

    Raises:
        UsageError: one of the two is not known, or the first does not take the second.
    """
    if architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture](architecture, preprocessing)
    known = ", ".join(ARCHITECTURES)
    raise UsageError(f"architecture {architecture!r} is not known. Expected one of {known}.")


def build_any(architecture: str, preprocessing: str) -> Model:
    """As `build`, and `resnet18` or `resnet18_hidden256` too, which takes `raw` alone.

    Raises:
        UsageError: one of the two is not known, or the first does not take the second.
    """
    if not is_resnet18(architecture):
        return build(architecture, preprocessing)
    if preprocessing != "raw":
        raise UsageError(f"{architecture} takes preprocessing raw, found {preprocessing}.")
    return resnet18_named(architecture)
