"""The whole program in a process of its own, seen from outside: its lines, its words, its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
import yaml
from typing_extensions import Self

Row = dict[str, Any]
Found = Callable[[Row], bool]
"""Tells of a line whether it is the one."""

T = TypeVar("T")

POLL_S = 0.02
PATIENCE_S = 120.0
"""How long anything is waited for that must happen; far more than it takes."""


class Resources(NamedTuple):
    """Open file descriptors, threads and resident memory (10⁶ bytes) of a process."""

    files: int
    threads: int
    rss_mb: float


class Program:
    """`patchwatch run` in a process of its own; a context manager that starts and kills it.

    Its `lines.jsonl`, `stderr.txt` and `config.yaml` are in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        *flags: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._lines = folder / "lines.jsonl"
        self._said = folder / "stderr.txt"
        self._read = 0
        self._rows: list[Row] = []
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(dict(config)))
        run = ["-m", "patchwatch", "run", "--config", str(path), "--json", str(self._lines)]
        self._command = [sys.executable, *run, "--headless", *flags]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                self._command, stderr=said, stdout=subprocess.DEVNULL, env=self._environment
            )
        return self

    def __exit__(self, *_: object) -> None:
        with self.process as process:
            process.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Started."""
        assert self._process is not None, "a program must be entered first"
        return self._process

    @property
    def rows(self) -> list[Row]:
        """The lines that it has written whole so far."""
        if self._lines.is_file():
            with self._lines.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            self._rows += [json.loads(line) for line in whole.splitlines()]
        return self._rows

    @property
    def said(self) -> str:
        """What it has written on stderr so far."""
        return self._said.read_text()

    def wait(self, what: str, found: Found, *, after: int = 0, within_s: float = PATIENCE_S) -> Row:
        """The first line from number `after` on of which `found` is true; `what` names it."""
        looked = after

        def matching() -> Row | None:
            nonlocal looked
            rows = self.rows
            match = next((row for row in rows[looked:] if found(row)), None)
            looked = max(looked, len(rows))
            return match

        return self.until(matching, what, within_s)

    def until(self, true: Callable[[], T | None], what: str, within_s: float = PATIENCE_S) -> T:
        """Wait until something is true, and return it."""
        deadline = time.monotonic() + within_s
        while not (answer := true()):
            seen = f"{what}: {self.rows[-3:]} {self.said[-2000:]}"
            assert time.monotonic() < deadline, f"no {seen}"
            assert self.process.poll() is None, f"it ended before {seen}"
            time.sleep(POLL_S)
        return answer

    def resources(self) -> Resources:
        """What it uses now."""
        proc = Path(f"/proc/{self.process.pid}")
        pages = int((proc / "statm").read_text().split()[1])
        return Resources(
            len(list((proc / "fd").iterdir())),
            len(list((proc / "task").iterdir())),
            pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        )

    def stop_whole(self, *secrets: str) -> None:
        """End it with SIGTERM, and check what it leaves."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.check_whole(*secrets)

    def check_whole(self, *secrets: str) -> None:
        """That nothing it left is torn, and that no traceback and no secret is in it."""
        text = self._lines.read_text() if self._lines.is_file() else ""
        assert not text or text.endswith("\n")
        for line in text.splitlines():
            json.loads(line)
        assert "Traceback" not in self.said, self.said
        for path in self.folder.iterdir():
            if path.is_file() and path.name != "config.yaml":
                left = path.name.encode() + path.read_bytes()
                assert not [secret for secret in secrets if secret.encode() in left], path


def scored(source: str | None = None) -> Found:
    """Whether a line is of a frame that the model saw."""
    return lambda row: row["logit"] is not None and source in (None, row["source"])


def since(unix_s: float, found: Found) -> Found:
    """The same of what was captured after a time."""
    return lambda row: row["time"] >= unix_s and found(row)


def silent(source: str | None = None, fault: str | None = None) -> Found:
    """Whether a line says that there is no signal."""
    return lambda row: (
        row["verdict"] == "no_signal"
        and source in (None, row["source"])
        and fault in (None, row.get("fault"))
    )


def played(path: Path) -> int:
    """Frames of a video, all of which can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def camera(name: str, address: str) -> dict[str, str]:
    """An entry of `cameras:`."""
    return {"name": name, "source": address}


def config(
    model: Path,
    cameras: Sequence[Mapping[str, object]],
    capture: Mapping[str, object],
    **more: object,
) -> dict[str, object]:
    """A configuration for tests: one thread for the tiny model, so that two cores suffice."""
    return {
        "model": str(model),
        "backend": {"threads": 1},
        "cameras": [dict(entry) for entry in cameras],
        "capture": dict(capture),
        **more,
    }
