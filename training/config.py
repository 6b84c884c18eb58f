"""Configurations of trainings: YAML, validated; unknown keys are refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, Field, model_validator
from typing_extensions import Self

from edge.config import checked, read_yaml
from edge.errors import ConfigError
from edge.manifest import Preprocessing, RegionText
from edge.schema import Strict
from training.data.config import DataConfig
from training.degrade import COLUMNS, H264_23, JPEG_75, JPEG_90, UNTOUCHED, Policy
from training.models import ARCHITECTURES
from training.settings import LoopSettings
from training.validation import View

Config = TypeVar("Config", bound=BaseModel)

_REMOVED = ("data.pairs", "data.pairs_share", "data.labelled", "pair_shares")


def _one_of(known: Collection[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f"{name!r} is not known; expected one of {', '.join(known)}.")
        return name

    return AfterValidator(check)


Architecture = Annotated[str, _one_of(ARCHITECTURES)]
Column = Annotated[str, _one_of(COLUMNS)]


class ValidationConfig(Strict):
    """How the best step is chosen, and the card measured."""

    columns: tuple[Column, ...] = Field(
        default=(UNTOUCHED, JPEG_90, JPEG_75),
        min_length=1,
        description="Degradations whose mean AUC chooses the best step.",
    )
    calibration: tuple[Column, ...] = Field(
        default=(JPEG_90, JPEG_75, H264_23),
        min_length=1,
        description="Degradations under which score and threshold are fitted.",
    )
    report: tuple[Column, ...] = Field(
        default=(UNTOUCHED, JPEG_90, JPEG_75, H264_23),
        min_length=1,
        description="Degradations whose figures go on the card, besides those of calibration.",
    )
    crop: int | None = Field(
        default=None,
        gt=0,
        description="Side of the middle part that is scored, in pixels; null: all.",
    )
    per_source: int | None = Field(
        default=None, gt=0, description="Pictures of each source at most; null for all."
    )

    def reported(self) -> tuple[str, ...]:
        """All columns of the card, in their usual order."""
        return tuple(name for name in COLUMNS if name in {*self.report, *self.calibration})


class ModelConfig(Strict):
    """What is learned, from which pictures, and how it is judged; whatever the way of learning."""

    name: str = Field(min_length=1, description="Of the model; the best is NAME.safetensors.")
    architecture: Architecture = Field(default="tiny_ladeda", description="Of the model.")
    preprocessing: Preprocessing = Field(
        default="x_grad", description="What the model sees of a picture."
    )
    init: Path | None = Field(
        default=None,
        description="Checkpoint to start from, .safetensors or .pth; imagenet: the published "
        "weights of a lite0 trunk; null: random.",
    )
    region: RegionText | None = Field(
        default=None,
        description="Of a frame that the device looks at; null: all of it, or resize:N as data is.",
    )
    face_side: float | None = Field(
        default=None, gt=0, description="For aligned faces: side of a crop in eye distances."
    )
    note: str = Field(default="", description="On the training data, for the card.")
    data: DataConfig = DataConfig()
    policy: Policy | None = Field(
        default=Policy(), description="Degradations of the samples; null for none."
    )
    validation: ValidationConfig = ValidationConfig()
    seed: int = Field(default=0, ge=0, description="Of the first weights and of every sample.")

    def view(self) -> View:
        """What of a validation picture is scored."""
        return View(self.data.resize, self.validation.crop)


class TrainConfig(ModelConfig, LoopSettings):
    """Everything that a configuration of `patchwatch train` may say."""

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        parts = 2 * self.accumulate
        if self.batch % parts:
            raise ValueError(
                f"batch: expected a multiple of {parts}, as each pass takes as many of both "
                f"labels; found {self.batch}."
            )
        return self


class TeachingConfig(Strict):
    """Who teaches, and what of it is learned."""

    teachers: tuple[Path, ...] = Field(
        default=(), description="Checkpoints; several are averaged. --teacher goes before them."
    )
    architecture: Architecture = Field(default="ladeda9", description="Of teachers in .pth files.")
    preprocessing: Preprocessing = Field(default="NPR", description="Of teachers in .pth files.")
    sha256: tuple[str, ...] = Field(
        default=(), description="Of the teachers' files, to be sure of them; empty takes any."
    )
    way: Literal["patches", "dense"] = Field(
        default="dense",
        description="patches: 10×10 pixels for the logit of 9×9, as published; dense: whole maps.",
    )
    sees: Literal["degraded", "clean"] = Field(
        default="degraded",
        description="The teacher's crop: the student's, or that from before its degradations, "
        "which must then keep every pixel's place: a policy with resize is refused.",
    )
    loss: Literal["mse", "bce"] = Field(
        default="mse",
        description="Per patch: squared difference of logits, or cross-entropy of probabilities.",
    )
    temperature: float = Field(
        default=1.0, gt=0, description="bce: divides both logits; the loss is times its square."
    )
    weight: float = Field(
        default=1.0, ge=0, le=1, description="dense: share of the teacher's loss; rest: labels."
    )
    stride: int = Field(
        default=8, gt=0, multiple_of=2, description="patches: pixels between them; even."
    )
    patches: int | None = Field(
        default=729, gt=0, description="patches: drawn for each step; null for all of the batch."
    )
    kept: Path | None = Field(
        default=None,
        description="patches: a file of 'patchwatch patches' that is learned from; --patches goes "
        "before it. Null: patches are cut as they are needed.",
    )
    agreement: int = Field(
        default=16,
        ge=0,
        description="Validation pictures on which student and teacher are correlated.",
    )

    @model_validator(mode="after")
    def _labels_have_a_picture(self) -> TeachingConfig:
        if self.way == "patches" and self.weight != 1:
            raise ValueError(
                f"way patches has no labels to learn from, so its weight is 1; found "
                f"{self.weight:g}. Use way: dense."
            )
        if self.kept and (self.way != "patches" or self.patches is None):
            raise ValueError("kept is for way: patches, with a number of patches for each step.")
        return self


class DistillConfig(TrainConfig):
    """Everything that a configuration of `patchwatch distill` may say; the model is the student."""

    teaching: TeachingConfig = TeachingConfig()

    @model_validator(mode="after")
    def _clean_crops_lie_on_degraded_ones(self) -> Self:
        if self.teaching.sees == "clean" and self.policy and self.policy.resizes:
            raise ValueError(
                "teaching: sees clean needs degradations that keep every pixel's place, and the "
                "policy resizes. Leave resize out of policy.single and policy.pairs, or use "
                "sees: degraded."
            )
        return self


def load_config(
    kind: type[Config], path: Path, settings: Sequence[str] = (), seed: int | None = None
) -> Config:
    """Read and check a YAML file of a kind of configuration. Each of the settings overrides it, as
    `dotted.key=value`, the value as YAML; a seed overrides both.

    Raises:
        ConfigError: unreadable, an unknown key, a wrong value or a setting of another form.
    """
    data = read_yaml(path)
    changes = [_change(setting) for setting in settings]
    if seed is not None:
        changes.append((["seed"], seed))
    for keys, value in changes:
        data = overridden(data, keys, value)
    where = f"{path} with --set" if settings else str(path)
    for key in _REMOVED:
        found: Any = data
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            raise ConfigError(
                f"{where}: the key {key!r} was removed, as learning from photographs and their "
                "reconstructions gained nothing (docs/experiments.md). Leave it out."
            )
    return checked(kind, data, where)


def _change(setting: str) -> tuple[list[str], object]:
    key, separator, text = setting.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set: expected KEY=VALUE, found {setting!r}.")
    try:
        return key.split("."), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: {text!r} is no YAML value.") from error


def overridden(data: Any, keys: Sequence[str], value: object) -> object:
    """Nested mappings with one value in place of what lies under a path of keys."""
    if not keys:
        return value
    data = data if isinstance(data, dict) else {}
    return {**data, keys[0]: overridden(data.get(keys[0]), keys[1:], value)}
