"""The patch models that patchwatch trains and exports."""

from __future__ import annotations

from edge.errors import UsageError
from training.models.ladeda import WIDE_LAYERS, LaDeDa
from training.models.patch_model import PatchModel
from training.models.preprocess import PREPROCESSINGS
from training.models.tiny_ladeda import TinyLaDeDa

__all__ = ["ARCHITECTURES", "PREPROCESSINGS", "PatchModel", "build"]

_RECEPTIVE_FIELDS = {f"ladeda{side}": side for side in WIDE_LAYERS}
ARCHITECTURES: tuple[str, ...] = ("tiny_ladeda", *_RECEPTIVE_FIELDS)


def build(architecture: str, preprocessing: str) -> PatchModel:
    """A model with fresh weights, in training mode.

    Args:
        architecture: one of `ARCHITECTURES`.
        preprocessing: one of `PREPROCESSINGS`.

    Raises:
        UsageError: one of the two is not known.
    """
    if architecture == "tiny_ladeda":
        return TinyLaDeDa(architecture, preprocessing)
    if architecture in _RECEPTIVE_FIELDS:
        return LaDeDa(architecture, preprocessing, _RECEPTIVE_FIELDS[architecture])
    known = ", ".join(ARCHITECTURES)
    raise UsageError(f"architecture {architecture!r} is not known. Expected one of {known}.")
