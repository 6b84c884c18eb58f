"""Which pictures a training learns from, and what becomes of them: the part `data` of its YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from edge.labels import STANDARD, LabelFolders
from edge.schema import Strict
from training.data.layouts import AUTO, LAYOUTS

Rows = Annotated[int, Field(gt=0)]


class DataConfig(Strict):
    """Which pictures, under the folder that --data names."""

    path: Path | None = Field(default=None, description="The folder; --data goes before it.")
    more: tuple[Path, ...] = Field(
        default=(),
        description="Further folders of labelled pictures, such as those of 'patchwatch label': "
        "their train/ is learned from and their val/ judged on too, with one label or both.",
    )
    layout: str = Field(
        default=AUTO, description=f"How the folder is laid out: {AUTO}, {', '.join(LAYOUTS)}."
    )
    label_folders: LabelFolders = Field(
        default=STANDARD,
        description="Folders that say the label, beside 0_real and 1_fake: {real: [photos], "
        "fake: [ai]}; --label-folders goes before it.",
    )
    classes: tuple[str, ...] = Field(
        default=(), description="Which to learn from, where the layout has classes; empty for all."
    )
    train: str = Field(default="train", description="Split to learn from.")
    val: str = Field(default="val", description="Split to choose, calibrate and report on.")

    first_compression: bool = Field(
        default=True, description="Give lossless pictures a first JPEG, as photographs had."
    )
    flip: bool = Field(default=True, description="Mirror half of the samples, left to right.")
    resize: int | None = Field(
        default=None, gt=0, description="Resize to a square of this side first; null: never."
    )
    reduced_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Of the samples that are cut from the picture reduced as a whole, as the "
        "region fit:N looks at it; the others are cut at native pixels.",
    )
    reduced_rows: tuple[Rows, Rows] = Field(
        default=(256, 512), description="Shorter side of a reduced picture, [least, most]."
    )
    crop: int = Field(default=128, gt=0, description="Side of a sample in pixels.")
    cache_mb: int = Field(
        default=1024, ge=0, description="Memory for decoded pictures, over all loading processes."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.layout not in {AUTO, *LAYOUTS}:
            known = ", ".join([AUTO, *LAYOUTS])
            raise ValueError(f"layout {self.layout!r} is not known; expected one of {known}.")

        if self.resize is not None and self.resize < self.crop:
            raise ValueError(f"a crop of {self.crop} px does not fit into resize.")
        if self.resize is not None and self.reduced_share:
            raise ValueError("reduced_share has no meaning where resize is given.")
        if self.reduced_rows[0] > self.reduced_rows[1]:
            raise ValueError(f"reduced_rows: expected [least, most], found {self.reduced_rows}.")
        return self
