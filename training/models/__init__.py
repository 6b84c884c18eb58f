"""The models that patchwatch trains and exports: patch models, and one that judges a face whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edge.errors import UsageError
from training.models.composed import ComposedModel, Trunk
from training.models.experts import ExpertsTrunk
from training.models.fine import FINE, FineTrunk
from training.models.ladeda import WIDE_LAYERS, LaDeDa
from training.models.levels import LiteLevelsTrunk
from training.models.lite import BLOCKS, LiteTrunk
from training.models.patch_model import PatchModel
from training.models.pooling import POOLINGS, Pooling
from training.models.preprocess import PREPROCESSINGS
from training.models.resnet18 import ResNet18, is_resnet18, resnet18_named
from training.models.tiny_ladeda import TinyLaDeDa

__all__ = ["ARCHITECTURES", "PREPROCESSINGS", "AnyModel", "PatchModel", "ResNet18"]
__all__ += ["build", "build_any"]

AnyModel = PatchModel | ResNet18
"""Either kind: its `forward` gives the evidence of each picture, float32 [N]."""

Factory = Callable[[str, str], PatchModel]
"""(architecture, preprocessing) → the model."""

_TRUNKS: dict[str, Callable[[], Trunk]] = {
    **{f"lite0_s{stride}": partial(LiteTrunk, stride) for stride in BLOCKS},
    **{name: partial(FineTrunk, settings) for name, settings in FINE.items()},
    "lite0_levels": LiteLevelsTrunk,
    "experts": partial(ExpertsTrunk, gated=False),
    "gated_experts": partial(ExpertsTrunk, gated=True),
}
"""Architectures that take every pooling."""


def _ladeda(side: int, architecture: str, preprocessing: str) -> PatchModel:
    return LaDeDa(architecture, preprocessing, side)


def _composed(
    trunk: Callable[[], Trunk],
    pooling: Callable[[], Pooling],
    architecture: str,
    preprocessing: str,
) -> PatchModel:
    return ComposedModel(architecture, preprocessing, trunk(), pooling())


def _factories() -> Iterator[tuple[str, Factory]]:
    yield "tiny_ladeda", TinyLaDeDa
    for side in WIDE_LAYERS:
        yield f"ladeda{side}", partial(_ladeda, side)
    for ending, pooling in POOLINGS.items():
        for name, trunk in _TRUNKS.items():
            yield f"{name}{ending}", partial(_composed, trunk, pooling)


ARCHITECTURES: dict[str, Factory] = dict(_factories())
"""Name → what builds it."""


def build(architecture: str, preprocessing: str) -> PatchModel:
    """A model with fresh weights, in training mode.

    Args:
        architecture: one of `ARCHITECTURES`.
        preprocessing: one of `PREPROCESSINGS`.

    Raises:
        UsageError: one of the two is not known, or the first does not take the second.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UsageError(f"architecture {architecture!r} is not known. Expected one of {known}.")
    return ARCHITECTURES[architecture](architecture, preprocessing)


def build_any(architecture: str, preprocessing: str) -> AnyModel:
    """As `build`, and `resnet18` or `resnet18_hidden256` too, which takes `raw` alone.

    Raises:
        UsageError: one of the two is not known, or the first does not take the second.
    """
    if not is_resnet18(architecture):
        return build(architecture, preprocessing)
    if preprocessing != "raw":
        raise UsageError(f"{architecture} takes preprocessing raw, found {preprocessing}.")
    return resnet18_named(architecture)
