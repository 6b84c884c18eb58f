"""The first weights of a face model, and what it says of faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edge.errors import ModelError, UsageError
from edge.files import cache_folder
from training.checkpoint import SUFFIX, fill, load_resnet18, read_state_dict
from training.data.get.download import AddressError, OnBytes, disk_error, download
from training.data.get.published import Part
from training.data.samples import loader
from training.evaluation import Logits
from training.faces.config import FacesConfig
from training.faces.data import ValidationFaces
from training.methods.base import model_input
from training.models import Model, ResNet18

if TYPE_CHECKING:
    from training.faces.sets import FaceItem

IMAGENET = Path("imagenet")
"""As `init`: the published weights."""

PUBLISHED = Part(
    "imagenet",
    "resnet18-f37072fd.pth",
    "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "46830571 bytes",
    sha256="f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    unpack=False,
)
"""ResNet-18 as torchvision publishes it, learned on ImageNet-1k, whose pictures are for research
that is not commercial; the code is under BSD-3-Clause."""

_HEAD = "fc."
_COUNT = "num_batches_tracked"
"""Which batch norms have since torch 0.4.1, and older state dicts do not."""


def first_model(
    config: FacesConfig,
    part: Part = PUBLISHED,
    on_bytes: OnBytes = lambda done, total: None,
) -> ResNet18:
    """The model with the weights that the training starts from; `part` is fetched for `imagenet`,
    once, and kept in the cache.

    Raises:
        FetchError: the published weights cannot be had.
        ModelError: the file cannot be used, or is of another model.
        UsageError: `init` is a file of neither kind.
    """
    model, init = ResNet18(config.dropout, config.hidden), config.init
    if init is None:
        return model
    if init == IMAGENET:
        load_imagenet(model, fetched(part, on_bytes))
    elif init.suffix in (".pth", ".pt"):
        load_imagenet(model, init)
    elif init.suffix == SUFFIX:
        found, _ = load_resnet18(init)
        if found.architecture != model.architecture:
            raise UsageError(
                f"init: expected a {model.architecture}, found a {found.architecture} in {init}. "
                "Set hidden to what it has."
            )
        model.load_state_dict(found.state_dict())
    else:
        raise UsageError(
            f"init: expected imagenet, a .pth or a {SUFFIX} file, found {str(init)!r}."
        )
    return model


def fetched(part: Part, on_bytes: OnBytes = lambda done, total: None) -> Path:
    """A published file in the cache, fetched and checked if it is not there yet.

    Raises:
        FetchError: it cannot be had, or is not what was published.
    """
    target = cache_folder() / "weights" / part.file
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        download(part.address, target, part.sha256, on_bytes)
    except AddressError as error:
        # Without the advice that follows, which is of another command.
        raise AddressError(
            f"{str(error).split('. ')[0]}. Fetch {part.file} on another machine and name it: --set "
            "init=FILE."
        ) from error
    except OSError as error:
        raise disk_error(target, error) from error
    return target


def load_imagenet(model: ResNet18, path: Path) -> None:
    """Give a model all published weights but those of the head, which stay as they are.

    Args:
        model: changed.
        path: a state dict with torchvision's names.

    Raises:
        ModelError: no such file, or a name or a shape is not that of a ResNet-18.
    """
    found = {key: x for key, x in read_state_dict(path).items() if not key.startswith(_HEAD)}
    own = {k: x for k, x in model.state_dict().items() if k.startswith(_HEAD) or k.endswith(_COUNT)}
    fill(model, {**own, **found}, f"{path} is no ResNet-18 such as {PUBLISHED.file}")


def score_faces(
    model: Model,
    items: Sequence[FaceItem],
    size: int = 224,
    *,
    batch: int = 64,
    workers: int = 0,
    on_faces: Callable[[int], None] = lambda count: None,
) -> Logits:
    """The logit of each face, float64 [items]: of fake less that of real.

    The model may be on any device; it is judged in evaluation mode, and left in the mode that it
    came in. Faces are brought to `size` pixels; `on_faces` gets how many more were judged.

    Raises:
        SourceError: a face cannot be read.
        ModelError: a logit is no finite number.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows: list[Tensor] = []
    try:
        for faces in loader(ValidationFaces(items, size), workers, batch_size=batch):
            with torch.no_grad():
                rows.append(model(model_input(faces["frames"].to(device))).double().cpu())
            on_faces(len(faces["frames"]))
    finally:
        model.train(was_training)
    logits: Logits = torch.cat(rows).numpy() if rows else np.empty(0)
    wrong = np.flatnonzero(~np.isfinite(logits))
    if len(wrong):
        raise ModelError(
            f"{items[wrong[0]].path}: its logit is {logits[wrong[0]]}; expected a finite number. "
            "The weights are broken: train again, at a lower rate."
        )
    return logits
