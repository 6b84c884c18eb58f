"""What a run wrote before is deleted by age and by size, the oldest first."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class Retention:
    """How long files of a folder are kept, how many bytes of them in all, and how many."""

    keep_s: float = math.inf
    keep_bytes: float = math.inf
    most: float = math.inf

    @classmethod
    def of(cls, days: float | None, mb: float | None, most: float = math.inf) -> Self:
        """From days, 10⁶ bytes and a number of files; None for without limit."""
        return cls(
            math.inf if days is None else days * 86_400, math.inf if mb is None else mb * 1e6, most
        )

    def apply(
        self, folder: Path, own: re.Pattern[str], lasts: Callable[[Path], bool] = lambda path: False
    ) -> None:
        """Delete what is too old, and the oldest of what is too much; never what lasts.

        Files whose names differ in their suffix alone go together. What cannot be deleted stays.

        Args:
            folder: where they are.
            own: the names of the files that are meant; any other is left.
            lasts: called with a file that is about to be deleted.
        """
        if math.inf == self.keep_s == self.keep_bytes == self.most:
            return
        found: dict[str, list[tuple[float, int, Path]]] = {}
        with suppress(OSError):
            for path in folder.iterdir():
                with suppress(OSError):
                    if own.fullmatch(path.name) and path.is_file():
                        status = path.stat()
                        one = status.st_mtime, status.st_size, path
                        found.setdefault(path.stem, []).append(one)
        total = sum(size for files in found.values() for _, size, _ in files)
        now = time.time()
        for left, files in enumerate(sorted(found.values(), key=_newest), 1 - len(found)):
            too_much = (total > self.keep_bytes and left < 0) or 1 - left > self.most
            if not (too_much or now - _newest(files) > self.keep_s):
                return
            with suppress(OSError):
                if not any(lasts(path) for *_, path in files):
                    for _, size, path in files:
                        path.unlink(missing_ok=True)
                        total -= size


def _newest(files: list[tuple[float, int, Path]]) -> float:
    return max(written for written, *_ in files)
