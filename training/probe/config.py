"""The configuration of `patchwatch probe`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from edge.manifest import RegionText
from edge.schema import Strict
from training.config import ModelConfig, TrainConfig
from training.models.lite import TRUNKS


class ViewConfig(Strict):
    """Samples of a picture: what the model is shown of it."""

    region: RegionText = Field(
        default="native", description="Taken after the degradation, as the device takes it."
    )
    crop: int | None = Field(
        default=None, gt=0, description="Side of a random crop, of native alone; null: the whole."
    )
    count: int = Field(default=1, gt=0, description="Samples of each picture.")
    shorter_side: tuple[int, int] | None = Field(
        default=None,
        description="The picture is first reduced (never enlarged) to a shorter side drawn between "
        "these, evenly in the logarithm, so that both labels share one spread of sizes.",
    )

    blended: bool = Field(
        default=False,
        description="Of real aligned faces alone: each sample is two, the face and, as a fake, the "
        "face blended back into itself (Shiohara and Yamasaki, 2022).",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crop is not None and self.region != "native":
            raise ValueError(f"crop is for region native, found {self.region}")
        if self.blended and not self.region.startswith("faces:"):
            raise ValueError(f"blended is for aligned faces, region faces:N; found {self.region}")
        low, high = self.shorter_side or (1, 1)
        if not 0 < low <= high:
            raise ValueError(f"shorter_side: expected [low, high] above 0, found [{low}, {high}]")
        return self


class ProbeConfig(ModelConfig):
    """A head fitted by logistic regression; the trunk's weights come from `init`."""

    views: tuple[ViewConfig, ...] = Field(
        default=(ViewConfig(crop=256, count=3),), min_length=1, description="Samples of a picture."
    )
    per_source: int | None = Field(
        default=None, gt=0, description="Training pictures of each source at most; null for all."
    )
    weights: dict[str, float] = Field(
        default={},
        description="Group or source → how much more a source of it counts; groups need --sources.",
    )
    balance: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="1: every source of a label counts the same; 0: every picture; 0.5: a source "
        "by the root of its number of pictures.",
    )

    strengths: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.1, 1.0, 8.0),
        min_length=1,
        description="Inverse weight of the ridge penalty, C; each is tried.",
    )
    whitenings: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(0.0, 100.0, 1000.0),
        min_length=1,
        description="How far directions in which pictures of one class differ are shrunk; each is "
        "tried.",
    )
    folds: int = Field(
        default=5,
        ge=0,
        description="Parts that the training sources are divided into; score and threshold are "
        "fitted to the logits of heads that were fitted without the part. 0: to the validation "
        "pictures.",
    )
    false_alarms: float = Field(
        default=0.05, gt=0, lt=1, description="Share of the photographs above the threshold."
    )
    false_alarms_of: dict[str, float] = Field(
        default={}, description="Group → another share for its pictures; needs --sources."
    )
    prior: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of generated pictures that the score assumes; less turns undecided ones "
        "into real ones, and leaves the logit of the threshold where it is.",
    )

    @field_validator("folds")
    @classmethod
    def _folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("expected 0, or at least 2 parts, found 1.")
        return folds


class TuneConfig(ProbeConfig, TrainConfig):
    """The last blocks of a trunk are trained on, from maps that are kept of every look."""

    kept: int = Field(
        default=11, gt=0, description="First blocks of the trunk, which stay as they are."
    )
    cells: int = Field(
        default=14,
        gt=2,
        multiple_of=2,
        description="Side of the part of a map that is learned from.",
    )
    mix: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of batches in which two pictures share a map, and the label is their "
        "part of it (CutMix; Yun et al., 2019).",
    )
    pull: float = Field(
        default=1e-3,
        ge=0,
        description="Weight of the squared distance of the weights from those at the start.",
    )
    rank: float = Field(
        default=0.0,
        ge=0,
        description="Weight of softplus(real - fake) over each blended face and its target, which "
        "then are in one batch, cut alike.",
    )
    head_rate: float = Field(default=0.3, gt=0, description="Of the rate, for the head.")
    soup: int = Field(
        default=1,
        gt=0,
        description="Trainings from as many seeds, whose weights are averaged (model soups; "
        "Wortsman et al., 2022).",
    )
    start_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Of the weights before the training in that mean (Robust Fine-Tuning of "
        "Zero-Shot Models; Wortsman et al., 2022).",
    )
    late: tuple[str, ...] = Field(
        default=(),
        description="Ends of the names of sources that the head alone learns from, in a last fit "
        "to all samples.",
    )
    late_strength: float = Field(
        default=2e-5,
        gt=0,
        description="C of the ridge of that fit, which pulls to the head that was trained.",
    )

    @field_validator("architecture")
    @classmethod
    def _has_blocks(cls, name: str) -> str:
        if name not in TRUNKS:
            raise ValueError(
                f"expected one of a Lite trunk ({', '.join(TRUNKS)}), whose last blocks are "
                f"trained, found {name}."
            )
        return name
