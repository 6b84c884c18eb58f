"""Several files at once, each whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from edge.errors import SinkError
from edge.signals import uninterrupted


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files aside, then put all in place; a stop signal waits for the second part.

    Args:
        folder: made where it is absent.
        files: name → content; existing ones are replaced.

    Raises:
        SinkError: the folder cannot be made or written to.
    """
    parts = {name: folder / f".{name}.{os.getpid()}.part" for name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            part.write_bytes(files[name])
        with uninterrupted():
            for name, part in parts.items():
                os.replace(part, folder / name)
    except OSError as error:
        raise SinkError(f"{folder} cannot be written to: {error.strerror or error}.") from error
    finally:
        for part in parts.values():
            with suppress(OSError):  # in place already, or never made
                part.unlink()
