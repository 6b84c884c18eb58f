"""Configurations of trainings on faces: YAML with `kind: faces`; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from edge.schema import Strict
from training.settings import CommonSettings, LoopSettings

TrainSet = Literal["base", "augment", "both"]
"""Faces of FaceForensics++, of the YouTube set, or both together."""

FaceSchedule = Literal["constant", "one_cycle"]
Share = Annotated[float, Field(ge=0, le=1)]
Between = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class AugmentConfig(Strict):
    """What is done to a face before it is learned from, in this order; each at random."""

    flip: Share = Field(default=0.5, description="Share that is mirrored, left to right.")
    degrees: float = Field(default=40.0, ge=0, le=180, description="Turned by at most so much.")
    scale: Between = Field(default=(0.9, 1.1), description="Enlarged by a factor between.")
    perspective: Share = Field(default=0.5, description="Share that is seen at a slant.")
    slant: Share = Field(default=0.2, description="How far corners move, of half a side.")
    brightness: Share = Field(default=0.5, description="Changed by at most so much.")
    contrast: Share = Field(default=0.5, description="Likewise.")
    saturation: Share = Field(default=0.5, description="Likewise.")
    erase: Share = Field(default=0.5, description="Share that loses a rectangle to black.")
    erased_area: Between = Field(default=(0.02, 0.16), description="Of the rectangle, as a share.")
    erased_ratio: Between = Field(default=(0.3, 1.6), description="Of its sides.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name in ("scale", "erased_area", "erased_ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: expected the smaller number first, found {low}, {high}.")
        if self.erased_area[1] > 1:
            raise ValueError(f"erased_area: expected shares up to 1, found {self.erased_area[1]}.")
        return self


class FacesConfig(CommonSettings):
    """Everything that a configuration of a training on faces may say."""

    kind: Literal["faces"] = Field(description="Tells this file from one of a patch model.")
    train_set: TrainSet = Field(default="both", description="Faces to learn from.")
    sample_share: float = Field(
        default=1.0, gt=0, le=1, description="Of each label's training faces that are used."
    )
    size: int = Field(default=224, ge=32, description="Side that a face is brought to, in pixels.")
    epochs: int = Field(default=20, gt=0, description="How often every training face is met.")
    batch: int = Field(default=256, gt=1, description="Faces per step.")
    max_rate: float = Field(default=5e-5, gt=0, description="Highest learning rate of Adam.")
    schedule: FaceSchedule = Field(
        default="one_cycle", description="Rate over time: constant, or up and down once."
    )
    warm_up: float = Field(
        default=0.4, ge=0, lt=1, description="Share of the steps in which one_cycle rises."
    )
    weight_decay: float = Field(
        default=0.1, ge=0, description="Of Adam: this times the weight is added to its gradient."
    )
    dropout: float = Field(default=0.75, ge=0, lt=1, description="Of features before each layer.")
    hidden: int | None = Field(
        default=None, gt=0, description="Channels of a hidden layer; null for none."
    )
    init: Path | None = Field(
        default=Path("imagenet"),
        description="First weights: imagenet (the published ones, fetched once), a file of these "
        "(.pth), a checkpoint of ours (.safetensors), or null: random.",
    )
    augment: AugmentConfig | None = Field(
        default=AugmentConfig(), description="What is done to training faces; null for nothing."
    )
    grid: int = Field(default=32, ge=0, description="Faces in the picture of each epoch; 0: none.")
    cache_mb: int = Field(
        default=1024, ge=0, description="Memory for decoded faces, over all loading processes."
    )
    note: str = Field(default="", description="On the training data, for the card.")

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        if self.batch % self.accumulate:
            raise ValueError(f"batch: expected a multiple of accumulate, found {self.batch}.")
        return self

    def steps_per_epoch(self, faces: int) -> int:
        """Batches that hold every face once; the last is filled up with the first ones."""
        return -(-faces // self.batch)

    def loop(self, faces: int) -> LoopSettings:
        """The settings of the loop, for a number of training faces."""
        steps = self.steps_per_epoch(faces)
        return LoopSettings(
            **self.model_dump(include=set(CommonSettings.model_fields)),
            steps=self.epochs * steps,
            batch=self.batch,
            rate=self.max_rate,
            schedule=self.schedule,
            validate_every=steps,
        )
