"""What `patchwatch distill` can be told: all of a training, and how the teacher is listened to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge.manifest import Preprocessing
from training.config import TrainConfig, load_config
from training.data.samples import SampleSettings
from training.distil.clean import WithClean, resizes
from training.distil.patches import STRIDE
from training.models import ARCHITECTURES

DENSE, PATCHES, CLEAN = "dense", "patches", "clean"


class TeachingConfig(BaseModel):
    """Who teaches, and what of it is learned."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    teachers: tuple[Path, ...] = Field(
        default=(), description="Checkpoints; several are averaged. --teacher goes before them."
    )
    architecture: str = Field(default="ladeda9", description="Of teachers in .pth files.")
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
        default=STRIDE, gt=0, multiple_of=2, description="patches: pixels between them; even."
    )
    patches: int | None = Field(
        default=729, gt=0, description="patches: drawn for each step; null for all of the batch."
    )
    agreement: int = Field(
        default=16,
        ge=0,
        description="Validation pictures on which student and teacher are correlated.",
    )

    @field_validator("architecture")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ARCHITECTURES:
            raise ValueError(f"{name!r} is not known; expected one of {', '.join(ARCHITECTURES)}.")
        return name

    @model_validator(mode="after")
    def _labels_have_a_picture(self) -> TeachingConfig:
        if self.way == PATCHES and self.weight != 1:
            raise ValueError(
                f"way patches has no labels to learn from, so its weight is 1; found "
                f"{self.weight:g}. Use way: dense."
            )
        return self


class DistilConfig(TrainConfig):
    """Everything that `patchwatch distill` can be told; the model is the student."""

    teaching: TeachingConfig = TeachingConfig()

    @model_validator(mode="after")
    def _clean_crops_lie_on_degraded_ones(self) -> DistilConfig:
        if self.teaching.sees == CLEAN and self.policy and resizes(self.policy):
            raise ValueError(
                "teaching: sees clean needs degradations that keep every pixel's place, and the "
                "policy resizes. Leave resize out of policy.single and policy.pairs, or use "
                "sees: degraded."
            )
        return self

    def pinned(self, sha256: Iterable[str]) -> DistilConfig:
        """This, with the teachers' files named by content: a run is not resumed with others."""
        teaching = self.teaching.model_copy(update={"sha256": tuple(sha256)})
        return self.model_copy(update={"teaching": teaching})

    @property
    def sees_clean(self) -> bool:
        """Whether samples carry two crops, degraded and clean."""
        return self.teaching.sees == CLEAN and self.policy is not None

    def samples(self, workers: int) -> SampleSettings:
        """The settings of the samples, for so many loading processes."""
        settings = super().samples(workers)
        if not self.sees_clean or self.policy is None:
            return settings
        return replace(settings, policy=WithClean.model_validate(self.policy.model_dump()))


def load_distil_config(
    path: Path, settings: Sequence[str] = (), seed: int | None = None
) -> DistilConfig:
    """Read and check a configuration file, as `load_train_config` does."""
    return load_config(DistilConfig, path, settings, seed)
