"""`frontier_….json`: quality and work of several models side by side, fit to be committed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from benchmarks.compute.names import SizeHW
from edge.errors import UsageError
from training.evaluation.bootstrap import Estimate
from training.evaluation.columns import UNTOUCHED
from training.evaluation.record import Part

FRAME_HW: SizeHW = (720, 1280)
"""The frame that regions are cut out of; `native` is the whole of it."""


class Work(Part):
    """What one frame costs a model."""

    # Strict, or true would pass for a count.
    macs: int = Field(gt=0, strict=True, description="Of all inputs that the region cuts.")
    input_hw: SizeHW = Field(description="Height and width of one input in pixels.")
    inputs: int = Field(ge=1, description="How many inputs a frame is cut into.")
    counted_from: Literal["file", "architecture"]
    file: str | None = Field(default=None, description="Name of the file that was counted.")
    same_file: bool = Field(default=True, description="It is, byte for byte, the one judged.")

    @property
    def gflops(self) -> float:
        """10⁹ floating-point operations of one frame, 2·MACs."""
        return 2 * self.macs / 1e9


class Point(Part):
    """One model."""

    name: str
    architecture: str | None
    region: str = Field(description="That the quality was judged with.")
    parameters: int | None
    auc: dict[str, Estimate | None] = Field(description="Column → mean AUC over generators.")
    work: Work | None
    missing: str | None = Field(default=None, description="Why there is no work.")

    def untouched(self) -> Estimate | None:
        """Mean AUC of pictures as they are, with its interval."""
        return self.auc.get(UNTOUCHED)

    def compressed(self) -> Estimate | None:
        """Mean over all columns but the untouched one; None where one of them is not defined.

        Its interval is the mean of the columns' ends: that of columns which rise and fall together,
        as those of the same pictures nearly do, so that it is rather too wide than too narrow.
        """
        found = [value for name, value in self.auc.items() if name != UNTOUCHED]
        known = [value for value in found if value is not None]
        if not known or len(known) < len(found):
            return None
        value, low, high = (sum(ends) / len(known) for ends in zip(*known, strict=True))
        return (value, low, high)


class Quality(Part):
    """Where the quality comes from."""

    file: str
    sha256: str
    time: str
    commit: str | None


class Frontier(Part):
    """All that the table and the plot are made from."""

    # "schema" is a method of pydantic's models, so the field has another name than its key.
    schema_number: Literal[1] = Field(default=1, alias="schema")
    theme: Literal["frontier"] = "frontier"
    time: str = Field(description="When the work was counted, UTC, ISO 8601.")
    commit: str | None = Field(description="Of the code that counted.")
    frame_hw: SizeHW
    quality: Quality
    columns: tuple[str, ...]
    models: tuple[Point, ...]


def is_frontier(path: Path) -> bool:
    """Whether a file says of itself that it is one of these."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):  # told by who reads it as an evaluation
        return False
    return isinstance(data, Mapping) and data.get("theme") == "frontier"


def read_frontier(path: Path) -> Frontier:
    """Read a file of `frontier_text`.

    Raises:
        UsageError: absent, not such a file, or broken.
    """
    try:
        return Frontier.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(
            f"{path}: expected a file of 'patchwatch bench frontier --json'; {key}: {first['msg']}."
        ) from error


def sha256_of(path: Path) -> str:
    """Of a file's bytes.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error


def frontier_text(frontier: Frontier) -> str:
    """The file's text."""
    return frontier.model_dump_json(by_alias=True, indent=1) + "\n"


def cheapest_first(points: Sequence[Point]) -> list[Point]:
    """Those without a count last."""
    return sorted(points, key=lambda point: point.work.macs if point.work else float("inf"))
