"""What is drawn for a training sample: shares and ranges, the same for both classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import numpy as np
from numpy.random import Generator
from pydantic import Field, field_validator, model_validator

from edge.schema import Strict
from training.degrade.chain import (
    GRID,
    Blur,
    Chain,
    Clip,
    GaussianNoise,
    Grid,
    Jpeg,
    PoissonNoise,
    Resize,
    Step,
    Webp,
)
from training.degrade.clips import VideoCodec
from training.degrade.stills import Filter

Kind = Literal["jpeg", "webp", "h264", "h265", "resize", "blur", "gaussian_noise", "poisson_noise"]
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"]
Quality = Annotated[int, Field(ge=1, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
RateFactor = Annotated[float, Field(ge=0, le=51)]
Above0 = Annotated[float, Field(gt=0)]
Frames = Annotated[int, Field(ge=2, le=32)]
Item = TypeVar("Item")


class Pair(Strict):
    """A chain of two, drawn in proportion to its weight."""

    first: Kind = Field(description="What happens first.")
    then: Kind = Field(description="What happens to its result.")
    weight: Weight = Field(default=1.0, description="How often, relative to the other pairs.")


_SINGLE: dict[Kind, float] = {
    "jpeg": 50,
    "webp": 10,
    "h264": 12,
    "h265": 2,
    "resize": 14,
    "blur": 5,
    "gaussian_noise": 4,
    "poisson_noise": 3,
}
_PAIRS = (
    Pair(first="resize", then="jpeg", weight=40),
    Pair(first="jpeg", then="jpeg", weight=15),
    Pair(first="jpeg", then="h264", weight=12),
    Pair(first="resize", then="webp", weight=8),
    Pair(first="resize", then="h264", weight=7),
    Pair(first="jpeg", then="resize", weight=6),
    Pair(first="blur", then="jpeg", weight=6),
    Pair(first="gaussian_noise", then="jpeg", weight=3),
    Pair(first="poisson_noise", then="jpeg", weight=3),
)


class Policy(Strict):
    """Shares and ranges of the degradations; ranges are inclusive, `[low, high]`."""

    untouched: Share = Field(default=0.2, description="Share of samples left as they are.")
    two: Share = Field(default=0.3, description="Share with a chain of two; the rest have one.")
    single: dict[Kind, Weight] = Field(
        default=_SINGLE, description="How often each is drawn alone, relative to the others."
    )
    pairs: tuple[Pair, ...] = Field(default=_PAIRS, description="The chains of two.")

    jpeg_quality: tuple[Quality, Quality] = Field(default=(40, 98), description="libjpeg's scale.")
    mjpeg_share: Share = Field(default=0.3, description="Of JPEGs made by FFmpeg's encoder.")
    full_chroma_share: Share = Field(default=0.4, description="Of JPEGs with 4:4:4 colour.")
    webp_quality: tuple[Quality, Quality] = Field(default=(40, 95), description="libwebp's scale.")
    h264_crf: tuple[RateFactor, RateFactor] = Field(default=(18, 32), description="x264's CRF.")
    h264_presets: tuple[Preset, ...] = Field(
        default=("ultrafast", "superfast", "veryfast"),
        min_length=1,
        description="x264's, drawn evenly.",
    )
    h264_frames: tuple[Frames, Frames] = Field(default=(4, 8), description="Frames in a clip.")
    h265_crf: tuple[RateFactor, RateFactor] = Field(default=(20, 34), description="x265's CRF.")
    h265_presets: tuple[Preset, ...] = Field(
        default=("ultrafast",), min_length=1, description="x265's, drawn evenly."
    )
    h265_frames: tuple[Frames, Frames] = Field(default=(4, 4), description="Frames in a clip.")
    pan_share: Share = Field(default=0.5, description="Of clips that pan; the others shake.")
    speed: int = Field(default=2, ge=0, le=8, description="Pixels per frame of a clip, at most.")
    scale: tuple[Above0, Above0] = Field(default=(0.5, 1.5), description="Of both sides.")
    filters: tuple[Filter, ...] = Field(
        default=("nearest", "bilinear", "bicubic", "lanczos"),
        min_length=1,
        description="Of resizing, drawn evenly.",
    )
    blur_sigma: tuple[Above0, Above0] = Field(default=(0.3, 1.2), description="In pixels.")
    noise_sigma: tuple[Above0, Above0] = Field(default=(1.0, 6.0), description="In grey levels.")
    noise_photons: tuple[Above0, Above0] = Field(
        default=(300.0, 4000.0), description="That white gives; drawn evenly in their logarithm."
    )

    @field_validator("*")
    @classmethod
    def _range_rises(cls, value: object) -> object:
        if (
            isinstance(value, tuple)
            and len(value) == 2
            and all(isinstance(number, int | float) for number in value)
            and value[0] > value[1]
        ):
            raise ValueError(f"expected [low, high], found {list(value)}")
        return value

    @model_validator(mode="after")
    def _something_to_draw(self) -> Policy:
        if self.untouched + self.two > 1:
            raise ValueError(f"untouched + two is {self.untouched + self.two:g}, above 1")
        if self.two > 0 and not any(pair.weight for pair in self.pairs):
            raise ValueError("two is above 0 and no pair has a weight")
        if self.untouched + self.two < 1 and not any(self.single.values()):
            raise ValueError("single degradations are wanted and none has a weight")
        return self

    @property
    def resizes(self) -> bool:
        """Whether a step that moves pixels to places between pixels can be drawn."""
        single = self.untouched + self.two < 1 and self.single.get("resize", 0) > 0
        pairs = [pair for pair in self.pairs if pair.weight > 0 and self.two > 0]
        return single or any("resize" in (pair.first, pair.then) for pair in pairs)

    def draw(self, rng: Generator) -> Chain:
        """A chain with all its numbers."""
        share = rng.random()
        if share < self.untouched:
            return Chain()
        if share < self.untouched + self.two:
            pair = _weighted(self.pairs, [p.weight for p in self.pairs], rng)
            return Chain(steps=(self.step(pair.first, rng), self.step(pair.then, rng)))
        kind = _weighted(list(self.single), list(self.single.values()), rng)
        return Chain(steps=(self.step(kind, rng),))

    def step(self, kind: Kind, rng: Generator) -> Step:
        """One degradation with all its numbers."""
        match kind:
            case "jpeg":
                return Jpeg(
                    encoder="mjpeg" if rng.random() < self.mjpeg_share else "libjpeg",
                    chroma="4:4:4" if rng.random() < self.full_chroma_share else "4:2:0",
                    quality=_whole(self.jpeg_quality, rng),
                    grid=_grid(rng),
                )
            case "webp":
                return Webp(quality=_whole(self.webp_quality, rng), grid=_grid(rng))
            case "h264":
                return self._clip(kind, self.h264_crf, self.h264_presets, self.h264_frames, rng)
            case "h265":
                return self._clip(kind, self.h265_crf, self.h265_presets, self.h265_frames, rng)
            case "resize":
                return Resize(filter=_evenly(self.filters, rng), scale=rng.uniform(*self.scale))
            case "blur":
                return Blur(sigma=rng.uniform(*self.blur_sigma))
            case "gaussian_noise":
                return GaussianNoise(seed=_seed(rng), sigma=rng.uniform(*self.noise_sigma))
            case "poisson_noise":
                photons = float(np.exp(rng.uniform(*np.log(self.noise_photons))))
                return PoissonNoise(seed=_seed(rng), photons=photons)

    def _clip(
        self,
        codec: VideoCodec,
        crf: tuple[float, float],
        presets: Sequence[str],
        frames: tuple[int, int],
        rng: Generator,
    ) -> Clip:
        count = _whole(frames, rng)
        drawn = round(rng.uniform(*crf), 1)
        preset = _evenly(presets, rng)
        if rng.random() < self.pan_share:
            velocity = rng.integers(-self.speed, self.speed, 2, endpoint=True)
            places = np.arange(count)[:, None] * velocity
        else:
            places = rng.integers(0, self.speed, (count, 2), endpoint=True)
        places = places - places.min(axis=0)
        return Clip(
            codec=codec,
            crf=drawn,
            preset=preset,
            moves=tuple((int(top), int(left)) for top, left in places),
            taken=int(rng.integers(1, count)),
            grid=_grid(rng),
        )


def _grid(rng: Generator) -> Grid:
    top, left = rng.integers(0, GRID, 2)
    return int(top), int(left)


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**32))


def _whole(bounds: tuple[int, int], rng: Generator) -> int:
    return int(rng.integers(*bounds, endpoint=True))


def _evenly(items: Sequence[Item], rng: Generator) -> Item:
    return items[int(rng.integers(len(items)))]


def _weighted(items: Sequence[Item], weights: Sequence[float], rng: Generator) -> Item:
    limits = np.cumsum(weights)
    return items[int(np.searchsorted(limits, rng.random() * limits[-1], side="right"))]
