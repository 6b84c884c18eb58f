"""What `patchwatch probe` can be told."""

from __future__ import annotations

from pydantic import Field, field_validator

from training.config import ModelConfig


class ProbeConfig(ModelConfig):
    """A head fitted by logistic regression; the trunk's weights come from `init`."""

    labelled_samples: int = Field(
        default=6000, gt=0, description="Crops of labelled pictures, half of them per label."
    )
    pair_samples: int = Field(
        default=2000, ge=0, description="Crops of pairs, both sides of each; 0 for none."
    )
    pair_shares: tuple[float, ...] = Field(
        default=(0.0, 0.03, 0.1),
        min_length=1,
        description="Of the loss that pairs make up; each is tried.",
    )
    strengths: tuple[float, ...] = Field(
        default=(0.1, 1.0, 8.0),
        min_length=1,
        description="Inverse weight of the ridge penalty, C; each is tried.",
    )
    whitenings: tuple[float, ...] = Field(
        default=(0.0, 100.0, 1000.0),
        min_length=1,
        description="How far directions in which pictures of one class differ are shrunk; each is "
        "tried.",
    )

    @field_validator("pair_shares")
    @classmethod
    def _shares(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= share < 1 for share in shares):
            raise ValueError(f"expected shares from 0 to below 1, found {shares}.")
        return shares

    @field_validator("strengths")
    @classmethod
    def _strengths(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if not all(strength > 0 for strength in strengths):
            raise ValueError(f"expected numbers above 0, found {strengths}.")
        return strengths

    @field_validator("whitenings")
    @classmethod
    def _whitenings(cls, whitenings: tuple[float, ...]) -> tuple[float, ...]:
        if not all(whitening >= 0 for whitening in whitenings):
            raise ValueError(f"expected numbers of 0 or more, found {whitenings}.")
        return whitenings

    @field_validator("labelled_samples", "pair_samples")
    @classmethod
    def _even(cls, count: int) -> int:
        if count % 2:
            raise ValueError(f"expected an even number, a half per label, found {count}.")
        return count
