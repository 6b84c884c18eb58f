"""The checkpoints that ship with the source, found by name, for others to go on from."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "checkpoints"


def shipped_checkpoints() -> dict[str, Path]:
    """Name → file, in alphabetical order; each with its card beside it. Empty in a wheel."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def find_checkpoint(path: Path) -> Path:
    """The file of a shipped checkpoint's name; every other path as it is."""
    return shipped_checkpoints().get(str(path), path)
