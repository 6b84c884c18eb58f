"""The shipped model files, found by name."""

from __future__ import annotations

from pathlib import Path

from edge.errors import ModelError

FOLDER = Path(__file__).parent
DEFAULT = "lite0-levels"
TINY = "tiny-ladeda"
"""The smallest model; it looks at whole frames."""


def shipped() -> dict[str, Path]:
    """Name → file of every shipped model, in alphabetical order."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.onnx"))}


def find_model(text: str) -> Path:
    """The file of a shipped model's name, or of a path.

    Raises:
        ModelError: neither a shipped model nor an existing file.
    """
    models = shipped()
    if text in models:
        return models[text]
    path = Path(text).expanduser()
    if path.is_file():
        return path
    raise ModelError(
        f"model {text!r} is neither a file nor a shipped model. Shipped: {', '.join(models)}."
    )
