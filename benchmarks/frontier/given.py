"""The model files that a person names, and which of the judged models each is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto

from benchmarks.compute.forms import counts
from benchmarks.compute.names import SizeHW
from benchmarks.compute.onnx_counter import count_graph, skeleton
from edge.errors import ModelError, UsageError
from edge.manifest import METADATA_KEY, Manifest, parse_manifest
from edge.weights import find_model
from export.graph import INPUT
from training.checkpoint import SUFFIX, Card, load_checkpoint
from training.evaluation.record import ModelFacts

MODEL_FILE = ".onnx"


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A file whose work can be counted.

    Attributes:
        path: where it lies.
        sha256: of its bytes.
        says: its manifest or card.
        graph: of a model file, without its weights; None for a checkpoint.
    """

    path: Path
    sha256: str
    says: Manifest | Card
    graph: ModelProto | None

    def macs(self, size: SizeHW) -> int:
        """MACs of one input; of a checkpoint those of the graph that export makes of it.

        Raises:
            ModelError: an operator without a formula, or a size that the graph does not take.
        """
        if self.graph is not None:
            return count_graph(self.graph, {INPUT: (1, *size, 3)}).macs
        return macs_of(self.says.architecture, self.says.preprocessing, size)

    def is_named_as(self, facts: ModelFacts) -> bool:
        """Whether the judged model has this file's name, or the name in it."""
        return self.says.name == facts.name or self.path.name in (facts.file, facts.name)


def macs_of(architecture: str, preprocessing: str, size: SizeHW) -> int:
    """MACs of one input in the graph that export makes of an architecture.

    Raises:
        UsageError: one of the names is not known.
    """
    return next(counts(architecture, preprocessing, "folded", [size])).macs


def open_given(text: str) -> Given:
    """The file of a path or of a shipped name.

    Raises:
        ModelError: absent, broken, or of a kind that cannot be counted.
    """
    path = find_model(text)
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if path.suffix == MODEL_FILE:
        graph = _graph(data, path)
        return Given(path, sha256, _manifest(graph, path), skeleton(graph))
    if path.suffix == SUFFIX:
        return Given(path, sha256, load_checkpoint(path)[1], None)
    raise ModelError(
        f"{path}: expected a checkpoint ({SUFFIX}) or a model file ({MODEL_FILE}), found a name "
        f"that ends in {path.suffix!r}. Leave it out: it is counted from its architecture."
    )


def assigned(models: Sequence[ModelFacts], files: Iterable[Given]) -> dict[str, Given]:
    """Name of a judged model → its file: the very one that was judged, or else one of its name.

    Raises:
        UsageError: a file is none of the models.
    """
    same: dict[str, Given] = {}
    alike: dict[str, Given] = {}
    for file in files:
        judged = [m.name for m in models if m.sha256 == file.sha256]
        named = [m.name for m in models if file.is_named_as(m)]
        if not judged and not named:
            known = ", ".join(model.name for model in models)
            raise UsageError(
                f"{file.path}: expected one of the models that were judged ({known}), found "
                f"{file.says.name}. Leave it out, or judge it with 'patchwatch evaluate'."
            )
        same.update(dict.fromkeys(judged, file))
        alike.update(dict.fromkeys([] if judged else named, file))
    return alike | same


def _graph(data: bytes, path: Path) -> ModelProto:
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's and onnx's errors share no base
        raise ModelError(
            f"{path}: expected an ONNX model, and it cannot be read. Copy or export it again."
        ) from error


def _manifest(graph: ModelProto, path: Path) -> Manifest:
    for entry in graph.metadata_props:
        if entry.key == METADATA_KEY:
            return parse_manifest(entry.value, path.name)
    raise ModelError(f"{path}: carries no patchwatch manifest. Export it with 'patchwatch export'.")
