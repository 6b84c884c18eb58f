"""What a search tries: YAML with a range for each key of the training's configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from edge.config import checked, read_yaml
from edge.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = bool | int | float | str | None
Pruner = Literal["median", "hyperband", "none"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Choices(_Part):
    """One of some values."""

    choices: tuple[Value, ...] = Field(min_length=1, description="Numbers, texts or null.")

    def draw(self, trial: Trial, key: str) -> Value:
        """Let the trial take one."""
        return trial.suggest_categorical(key, self.choices)

    def ends(self) -> tuple[Value, Value]:
        """The first and the last, which stand for all where a range is checked."""
        return self.choices[0], self.choices[-1]


class Range(_Part):
    """A number between two others; a whole one where both ends (and the step) are whole."""

    low: int | float
    high: int | float
    step: int | float | None = Field(default=None, description="From low on; null for none.")
    log: bool = Field(default=False, description="Equal shares for equal ratios.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"expected low ≤ high, found {self.low:g} and {self.high:g}.")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0 and no step.")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step: expected more than 0, found {self.step:g}.")
        return self

    def draw(self, trial: Trial, key: str) -> Value:
        """Let the trial take one."""
        low, high, step = self.low, self.high, self.step
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
            return trial.suggest_int(key, low, high, step=step or 1, log=self.log)
        return trial.suggest_float(key, low, high, step=step, log=self.log)

    def ends(self) -> tuple[Value, Value]:
        """Low and high."""
        return self.low, self.high


class SearchConfig(_Part):
    """Everything that the file of `patchwatch search` can say."""

    training: Path = Field(
        description="Configuration of `patchwatch train` that the ranges are laid over; a relative "
        "path starts at this file's folder."
    )
    space: dict[str, Choices | Range] = Field(
        min_length=1, description="Dotted key of the training's configuration → what to try."
    )
    trials: int = Field(default=140, gt=0, description="How many are to be finished.")
    pruner: Pruner = Field(default="median", description="Ends trials that fall behind.")
    first_trials: int = Field(
        default=10, ge=0, description="Drawn blindly, and never pruned by the median."
    )
    first_epochs: int = Field(
        default=3, ge=1, description="Epochs that the pruner leaves each trial at least."
    )
    seed: int = Field(default=0, ge=0, description="Of the draws.")
    heartbeat_s: int = Field(default=60, gt=0, description="How often a running trial is marked.")
    silence_s: int = Field(
        default=180, gt=0, description="Without a mark it counts as killed, and is tried again."
    )
    retries: int = Field(default=3, ge=0, description="Of a trial whose worker was killed.")

    @field_validator("space", mode="before")
    @classmethod
    def _of_one_kind(cls, space: object) -> object:
        """Choose the kind by its keys, so that a message names the right ones."""
        if not isinstance(space, dict):
            return space
        return {str(key): _parse_range(str(key), item) for key, item in space.items()}

    @model_validator(mode="after")
    def _marked_in_time(self) -> Self:
        if self.silence_s < 2 * self.heartbeat_s:
            raise ValueError(
                f"silence_s: expected at least twice heartbeat_s ({self.heartbeat_s}), found "
                f"{self.silence_s}."
            )
        return self


def _parse_range(key: str, item: object) -> Choices | Range:
    if not isinstance(item, dict) or not {"choices", "low", "high"} & item.keys():
        raise ValueError(f"{key}: expected choices, or low and high; found {item!r}.")
    kind: type[Choices] | type[Range] = Choices if "choices" in item else Range
    try:
        return checked(kind, item, key)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def load_search_config(path: Path) -> SearchConfig:
    """Read and check a configuration file of `patchwatch search`.

    Args:
        path: a YAML file.

    Returns:
        What it says; `training` is found from here.

    Raises:
        ConfigError: unreadable, an unknown key or a wrong value.
    """
    config = checked(SearchConfig, read_yaml(path), str(path))
    return config.model_copy(update={"training": path.parent / config.training})


def draw(trial: Trial, space: Mapping[str, Choices | Range]) -> dict[str, Value]:
    """Let a trial take a value for every key."""
    return {key: item.draw(trial, key) for key, item in space.items()}


def laid_over(settings: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """A training's configuration with the values of a trial in place of its own.

    Args:
        settings: nested, as YAML gives it; not changed.
        values: dotted key → value.
    """
    found = dict(settings)
    for key, value in values.items():
        first, _, rest = key.partition(".")
        inner = found.get(first)
        found[first] = (
            laid_over(inner if isinstance(inner, Mapping) else {}, {rest: value}) if rest else value
        )
    return found


def corners(config: SearchConfig, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Configurations at both ends of each range, the other keys at their first: all must be legal.

    They find a mistyped key and a range that the training does not take before a trial meets it.
    """
    first = {key: item.ends()[0] for key, item in config.space.items()}
    yield laid_over(settings, first)
    for key, item in config.space.items():
        yield laid_over(settings, {**first, key: item.ends()[1]})


def shown(value: object) -> str:
    """A value of a trial as text for a table."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
