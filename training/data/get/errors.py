"""What can go wrong while something is fetched."""

from __future__ import annotations

import errno
from pathlib import Path

from edge.errors import PatchwatchError


class FetchError(PatchwatchError):
    """Something published cannot be had; says what to do instead."""


class AddressError(FetchError):
    """An address does not give the file."""


def disk_error(path: Path, error: OSError) -> FetchError:
    """Why a file cannot be written, as a sentence; what was written before stays."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FetchError(
            f"The disk that holds {path.parent} is full. What came so far is kept: make room, "
            "then run the same command again."
        )
    return FetchError(f"{path} cannot be written: {error.strerror or error}.")
