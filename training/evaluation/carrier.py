"""What carries a calibration: the card of a checkpoint, or the manifest inside a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge.backends import open_backend
from edge.errors import MissingDependency, SinkError, UsageError
from edge.manifest import METADATA_KEY, Calibration, Figure
from edge.weights import find_model, shipped
from training.evaluation.scorers import CHECKPOINT, INSTALL, MODEL_FILE

if TYPE_CHECKING:
    from onnx import ModelProto

Figures = tuple[Figure, ...]


class Carrier(Protocol):
    """A model that says of itself how its logits are read.

    Attributes:
        calibration: as it is now.
        validation: its figures of quality now.
        output: the file that a new calibration goes into.
    """

    calibration: Calibration
    validation: Figures
    output: Path

    def rewritten(self, calibration: Calibration, validation: Figures) -> bytes:
        """The content of `output` with another calibration and other figures."""
        ...


def open_carrier(text: str, output: Path | None) -> Carrier:
    """The carrier of a checkpoint, a model file or a shipped model's name.

    Args:
        text: a name or a path.
        output: where the new one goes; None for a checkpoint's own card. A model file always needs
            a new name, as a device may be running it.

    Raises:
        UsageError: neither of them, or an output of the wrong kind.
        ModelError: absent or broken.
        SinkError: the new model file exists already.
        MissingDependency: a library is absent.
    """
    if Path(text).suffix == CHECKPOINT:
        return CheckpointCard(Path(text), output)
    if text in shipped() or Path(text).suffix == MODEL_FILE:
        return ModelFile(find_model(text), output)
    raise UsageError(
        f"{text}: expected a checkpoint ({CHECKPOINT}) with its card, a model file ({MODEL_FILE}) "
        f"or a shipped name ({', '.join(shipped())}). An engine is built anew from its model file."
    )


class CheckpointCard:
    """The card of a checkpoint; see `Carrier`."""

    def __init__(self, path: Path, output: Path | None) -> None:
        if output and output.suffix != ".json":
            raise UsageError(
                f"--output: expected a name ending in .json for the card of a checkpoint, found "
                f"{str(output)!r}."
            )
        from training.checkpoint import card_path, load_checkpoint

        _, self._card = load_checkpoint(path)
        self.calibration, self.validation = self._card.calibration, self._card.validation
        self.output = output or card_path(path)

    def rewritten(self, calibration: Calibration, validation: Figures) -> bytes:
        """The card as JSON."""
        update = {"calibration": calibration, "validation": validation}
        return (self._card.model_copy(update=update).model_dump_json(indent=2) + "\n").encode()


class ModelFile:
    """The manifest in the metadata of an ONNX file; see `Carrier`."""

    def __init__(self, path: Path, output: Path | None) -> None:
        if output is None or output.suffix != MODEL_FILE:
            raise UsageError(
                f"{path} is a model file: give a new one that ends in {MODEL_FILE} as --output, "
                f"found {str(output) if output else 'none'!r}."
            )
        if output.exists():
            raise SinkError(f"{output} exists already. Give another name as --output.")
        self.output = output
        with open_backend(path, threads=1) as backend:  # refuses what is no model file
            self._manifest = backend.manifest
        self._proto = _read(path)
        self.calibration = self._manifest.calibration
        self.validation = self._manifest.validation

    def rewritten(self, calibration: Calibration, validation: Figures) -> bytes:
        """The whole model file; its graph, and so its weights, are as they were."""
        update = {"calibration": calibration, "validation": validation}
        text = self._manifest.model_copy(update=update).to_json()
        for entry in self._proto.metadata_props:
            if entry.key == METADATA_KEY:
                entry.value = text
        return bytes(self._proto.SerializeToString())


def _read(path: Path) -> ModelProto:
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingDependency("onnx", "write a model file", INSTALL) from error
    return onnx.load_model_from_string(path.read_bytes())
