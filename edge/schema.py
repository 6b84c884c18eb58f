"""What every file and configuration of ours is checked by."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A pydantic model that refuses unknown keys, NaN and infinity, and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag that sets a key on the command line; stands beside the key's type.

    Attributes:
        name: with its dashes. A flag of a yes-or-no key takes no value and reverses the default.
        metavar: stands for the value in the help text; choices need none.
        help: where the description of the key does not fit the flag.
    """

    name: str
    metavar: str | None = None
    help: str | None = None


def code_commit() -> str | None:
    """Commit of this code, with `-dirty` where it was edited; None outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
