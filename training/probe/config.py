"""The configuration of `patchwatch probe`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from edge.manifest import RegionText
from edge.schema import Strict
from training.config import ModelConfig

REMOVED = {
    "labelled_samples": "every picture now gives the samples of 'views'; 'per_source' limits them",
    "pair_samples": "every pair now gives the samples of 'views' on both sides",
}


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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crop is not None and self.region != "native":
            raise ValueError(f"crop is for region native, found {self.region}")
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
    pair_shares: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        default=(0.0, 0.03, 0.1),
        min_length=1,
        description="Of the loss that pairs make up; each is tried.",
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

    @model_validator(mode="before")
    @classmethod
    def _not_removed(cls, data: Any) -> Any:
        for key, reason in REMOVED.items():
            if isinstance(data, dict) and key in data:
                raise ValueError(f"{key} was removed: {reason}.")
        return data

    @field_validator("folds")
    @classmethod
    def _folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("expected 0, or at least 2 parts, found 1.")
        return folds
