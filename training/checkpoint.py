"""Checkpoints: weights as safetensors with a card beside them, and the published `.pth` files.

Our own checkpoint is two files, `NAME.safetensors` and `NAME.json` (the card). A published file
holds weights alone, so its architecture and preprocessing are always stated, never guessed. No code
that a file may hold is run.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor, nn

from edge.errors import ModelError
from edge.files import written_whole
from edge.manifest import Calibration, Figure, Preprocessing, RegionText, Training
from edge.schema import Strict, fault
from training.files import reading
from training.models import Model, PatchModel, ResNet18, build, build_any
from training.shipped import find_checkpoint, shipped_checkpoints

SUFFIX, PUBLISHED = ".safetensors", (".pth", ".pt")

AnyModel = TypeVar("AnyModel", PatchModel, ResNet18, Model)


class Card(Strict):
    """What is known of a checkpoint besides its weights; the source of a model file's manifest."""

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    architecture: str = Field(min_length=1, description="As `training.models.build_any` takes it.")
    preprocessing: Preprocessing
    region: RegionText = Field(
        default="native", description="Input region that it was trained for."
    )
    face_side: float | None = Field(default=None, description="As of a manifest.")
    calibration: Calibration = Calibration()
    training: Training
    validation: tuple[Figure, ...] = ()
    licence: str


def card_path(checkpoint: Path) -> Path:
    """Where the card of a checkpoint lies."""
    return checkpoint.with_suffix(".json")


def save_checkpoint(path: Path, model: Model, card: Card) -> None:
    """Write `NAME.safetensors` and its card, each whole or not at all.

    Raises:
        ModelError: the path has another suffix, or the card describes another model.
        SinkError: the files cannot be written.
    """
    _require_suffix(path)
    found = (card.architecture, card.preprocessing)
    if found != (model.architecture, model.preprocessing):
        raise ModelError(
            f"{path}: the card describes {found[0]} with {found[1]}, the model is "
            f"{model.architecture} with {model.preprocessing}. Correct the card."
        )
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    text = card.model_dump_json(indent=2) + "\n"
    with (
        written_whole(path, dump_safetensors(state)),
        written_whole(card_path(path), text.encode()),
    ):
        pass  # both are written aside before either takes its place


def load_checkpoint(path: Path) -> tuple[PatchModel, Card]:
    """As `load_any`, of a patch model; a ModelError also where it is none."""
    model, card = load_any(path)
    if isinstance(model, PatchModel):
        return model, card
    raise ModelError(
        f"{path} holds a {model.architecture}, which judges a face whole, where a patch model was "
        "expected. Export it with 'patchwatch export' and name the model file."
    )


def load_resnet18(path: Path) -> tuple[ResNet18, Card]:
    """As `load_any`, of a ResNet-18 with a dropout of 0; a ModelError also where it is none."""
    model, card = load_any(path)
    if isinstance(model, ResNet18):
        return model, card
    raise ModelError(
        f"{path} holds a {model.architecture}, a patch model, where a resnet18 of faces was "
        "expected. Name a checkpoint that 'patchwatch train' made of a configuration of kind faces."
    )


def load_any(path: Path) -> tuple[Model, Card]:
    """Read `NAME.safetensors` with `NAME.json`: the model in evaluation mode, and its card.

    `path` may be the name of one that ships.

    Raises:
        ModelError: a file is missing or broken, or a weight has a wrong name, shape or value.
    """
    path = find_checkpoint(path)
    _require_suffix(path)
    with reading(path):
        data = path.read_bytes()
    with reading(card_path(path)):
        text = card_path(path).read_bytes()
    try:
        card = Card.model_validate_json(text)
        state = parse_safetensors(data)
    except ValidationError as error:
        raise ModelError(
            f"{card_path(path)}: {fault(error, 'the card')}. Correct the card."
        ) from error
    except SafetensorError as error:
        raise ModelError(
            f"{path}: expected safetensors, found something else ({error}). Is it a checkpoint?"
        ) from error
    return _filled(build_any(card.architecture, card.preprocessing), state, path), card


def load_published(path: Path, architecture: str, preprocessing: str) -> PatchModel:
    """A published `.pth` file as a model in evaluation mode.

    Args:
        path: see `read_state_dict`.
        architecture: one of `ARCHITECTURES`.
        preprocessing: one of `PREPROCESSINGS`; the file does not say it.

    Raises:
        ModelError: not such a file, or a weight has a wrong name, shape or value.
        UsageError: the architecture or the preprocessing is not known.
    """
    return _filled(build(architecture, preprocessing), read_state_dict(path), path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The weights of a published `.pth` file by name, else a ModelError.

    It holds a state dict, bare or under `model` or `state_dict`, with or without the prefix
    `module.` of a parallel wrapper.
    """
    try:
        with reading(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds more than weights, or is no PyTorch file; it was not run. Expected a "
            "state dict saved with torch.save."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{path} is not a whole PyTorch file ({reason}). Fetch it again."
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path}: expected a state dict, found {type(content).__name__}.")
    for key, value in content.items():
        if not isinstance(value, Tensor):
            found = type(value).__name__
            raise ModelError(f"{path}: expected a tensor under {key!r}, found {found}.")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _require_suffix(path: Path) -> None:
    if path.suffix != SUFFIX:
        known = ", ".join(shipped_checkpoints())
        raise ModelError(
            f"{path}: expected a checkpoint, whose name ends in {SUFFIX}, or one that ships "
            f"({known}); found {path.suffix!r}."
        )


def _filled(model: AnyModel, found: dict[str, Tensor], path: Path) -> AnyModel:
    fill(model, found, f"{path} is no checkpoint of {model.architecture}")
    model.eval()
    return model


def fill(module: nn.Module, found: Mapping[str, Tensor], refusal: str) -> None:
    """Give a module weights, all of its names and shapes; else a ModelError that begins with
    `refusal`.
    """
    if problem := _first_problem(module.state_dict(), found):
        raise ModelError(f"{refusal}: {problem}.")
    module.load_state_dict(found)


def _first_problem(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    shapes = {key: list(value.shape) for key, value in found.items()}
    for key, value in expected.items():
        shape = list(value.shape)
        if shapes.get(key) != shape:
            said = f"shape {shapes[key]}" if key in shapes else "no such key"
            return f"expected {key} of shape {shape}, found {said}"
        if not bool(torch.isfinite(found[key]).all()):
            return f"expected finite numbers in {key}, found NaN or infinity"
    extra = next((key for key in found if key not in expected), None)
    return extra and f"expected no key {extra}, found one of shape {shapes[extra]}"
