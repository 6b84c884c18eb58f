"""The shipped model files, found by name."""

from __future__ import annotations

from pathlib import Path

from edge.errors import UnknownModel

FOLDER = Path(__file__).parent
DEFAULT = "lite0-levels"
FACES = "lite0-faces"
"""Judges faces beside the picture; without its file, nobody does."""
TINY = "tiny-ladeda"
"""The smallest model; it looks at whole frames."""

_VARIANTS = (".fp16", ".int8")


def shipped() -> dict[str, Path]:
    """Name → file of every shipped model, in alphabetical order; their variants are not listed."""
    files = sorted(FOLDER.glob("*.onnx"))
    return {path.stem: path for path in files if Path(path.stem).suffix not in _VARIANTS}


def find_model(text: str) -> Path:
    """The file of a shipped model's name, or of a path.

    Raises:
        UnknownModel: neither a shipped model nor an existing file.
    """
    models = shipped()
    if text in models:
        return models[text]
    path = Path(text).expanduser()
    if path.is_file():
        return path
    raise UnknownModel(
        f"model {text!r} is neither a file nor a shipped model. Shipped: {', '.join(models)}."
    )


def variant(path: Path, precision: str) -> Path | None:
    """The file that holds a model's types of another precision: `m.fp16.onnx` beside `m.onnx`.

    Args:
        path: of the model file.
        precision: "fp16" or "int8".

    Returns:
        None where there is none.
    """
    beside = path.with_name(f"{path.stem}.{precision}{path.suffix}")
    return beside if beside.is_file() else None
