"""The saved state of a training: all that the next step depends on, in one safetensors file.

Tensors are named `PART/KEY…`; everything else is JSON in the file's metadata, where a tensor is
replaced by its name. Samples carry generators of their own, from the seed and their index, so that
of the random states only torch's belong here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as dump_safetensors
from torch import Tensor

from edge.errors import ModelError
from edge.files import written_whole

STATE = "state.safetensors"
_VERSION = 1
_KEY = "state"
_TENSOR = "$tensor"
_CPU_GENERATOR, _GPU_GENERATOR = "generator/cpu", "generator/cuda"


class Part(Protocol):
    """Whatever gives and takes a state of tensors, numbers, texts, lists and mappings."""

    def state_dict(self) -> Mapping[Any, Any]: ...

    def load_state_dict(self, state: Any) -> object: ...


@dataclass(frozen=True, slots=True)
class Best:
    """The best model so far; step 0 before there is one."""

    step: int = 0
    score: float = float("-inf")


@dataclass(slots=True)
class Moment:
    """Where a training stands.

    Attributes:
        step: steps done.
        validated: step of the last validation.
        best: of all validations.
        ended: the schedule has ended the training.
        losses: sum of the losses since the last validation.
        counted: how many these are.
        threads: of torch, when this was saved.
    """

    step: int = 0
    validated: int = 0
    best: Best = field(default_factory=Best)
    ended: bool = False
    losses: float = 0.0
    counted: int = 0
    threads: int = 0

    def add_loss(self, loss: float) -> None:
        """Count a step that was done."""
        self.step += 1
        self.losses += loss
        self.counted += 1

    def take_mean_loss(self) -> float:
        """Mean of the losses since this was last asked; 0 without any."""
        mean = self.losses / max(self.counted, 1)
        self.losses, self.counted = 0.0, 0
        return mean


def save_state(path: Path, moment: Moment, parts: Mapping[str, Part]) -> None:
    """Write the state whole or not at all; a state of before stays as it is until then.

    Args:
        path: the file.
        moment: where the training stands.
        parts: by name: model, optimiser and whatever else the next step depends on.

    Raises:
        SinkError: it cannot be written, for instance as the disk is full.
    """
    moment.threads = torch.get_num_threads()
    tensors: dict[str, Tensor] = {_CPU_GENERATOR: torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors[_GPU_GENERATOR] = torch.cuda.get_rng_state()
    rest = {name: _pack(part.state_dict(), name, tensors) for name, part in parts.items()}
    content = {"version": _VERSION, "moment": asdict(moment), "parts": rest}
    on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with written_whole(path, dump_safetensors(on_cpu, {_KEY: json.dumps(content)})):
        pass


def load_state(path: Path, parts: Mapping[str, Part]) -> Moment:
    """Read a state into the parts that it is of.

    Args:
        path: the file.
        parts: those of `save_state`, freshly made.

    Returns:
        Where the training stands.

    Raises:
        ModelError: the file is missing or broken, or its parts do not fit.
    """
    tensors, content = _read(path)
    try:
        for name, part in parts.items():
            part.load_state_dict(_unpack(content["parts"][name], tensors))
        torch.set_rng_state(tensors[_CPU_GENERATOR])
        if torch.cuda.is_available() and _GPU_GENERATOR in tensors:
            torch.cuda.set_rng_state(tensors[_GPU_GENERATOR])
        moment = dict(content["moment"])
        return Moment(**{**moment, "best": Best(**moment["best"])})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{path} is no state of this training ({reason}). Resume with the configuration that "
            "it was begun with."
        ) from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise ModelError(
            f"{path.parent} has no {path.name} to go on from. Name the folder of a run that was "
            "stopped, or leave out --resume."
        )
    try:
        with safe_open(path, "pt") as file:
            content = json.loads((file.metadata() or {})[_KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is no saved state ({error}). Begin the run anew.") from error
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise ModelError(
            f"{path}: expected a state of version {_VERSION}, found another. Resume with the "
            "version of patchwatch that wrote it."
        )
    return tensors, content


def _pack(value: object, name: str, tensors: dict[str, Tensor]) -> object:
    """A tree without tensors, which are put aside by name; mappings become lists of pairs.

    Pairs, as an optimiser's keys are numbers, which JSON would turn into text.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {"pairs": [[k, _pack(v, f"{name}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict) and _TENSOR in value:
        return tensors[value[_TENSOR]]
    if isinstance(value, dict):
        return {key: _unpack(item, tensors) for key, item in value["pairs"]}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value
