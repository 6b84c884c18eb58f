"""What turns a picture into a logit: a checkpoint, a model file or a published file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from typing_extensions import Self

from edge.backends import ENGINE_SUFFIX, open_backend
from edge.detector import Detector, Stopwatch, combine
from edge.errors import MissingDependency, ModelError, UsageError
from edge.files import sha256_of
from edge.manifest import Calibration
from edge.regions import cut, parse_region
from edge.types import Image
from edge.weights import find_model, shipped
from training.evaluation.record import ModelFacts

if TYPE_CHECKING:
    from training.models import PatchModel

CHECKPOINT, MODEL_FILE, PUBLISHED = ".safetensors", ".onnx", (".pth", ".pt")
INSTALL = "pip install 'patchwatch[train]'"


class Scorer(AbstractContextManager["Scorer"], Protocol):
    """Scores single pictures; a context manager that owns its memory.

    Attributes:
        name: as reports call it.
        facts: what it is.
    """

    name: str
    facts: ModelFacts

    def __call__(self, image: Image) -> float:
        """The logit of a picture, uint8 [H, W, 3] BGR; not checked for NaN.

        Raises:
            RegionError: smaller than one patch of the model.
            ModelError: the runtime refused it.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How models are opened.

    Attributes:
        region: for all of them; None for what each says of itself.
        architecture: of published files.
        preprocessing: of published files.
        threads: inside an operator; None for every core.
    """

    region: str | None = None
    architecture: str | None = None
    preprocessing: str | None = None
    threads: int | None = None


class ModelFileScorer:
    """A model file on the device's own code.

    Args:
        path: a `.onnx` file, or an `.engine` that was built here.
        options: region and threads are used.
    """

    def __init__(self, path: Path, options: ModelOptions) -> None:
        self._backend = open_backend(path, options.threads)
        manifest = self._backend.manifest
        region = parse_region(options.region or manifest.region)
        self._detector = Detector(self._backend, region)
        self.name = manifest.name
        self.facts = ModelFacts(
            name=self.name,
            file=path.name,
            sha256=_sha256(path),
            region=str(region),
            calibration=manifest.calibration,
            parameters=manifest.parameters,
            architecture=manifest.architecture,
            preprocessing=manifest.preprocessing,
        )

    def __enter__(self) -> Self:
        self._backend.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._backend.__exit__(*error)  # type: ignore[arg-type]  # as the interpreter gives them

    def __call__(self, image: Image) -> float:
        """The mean logit of the region's parts; see `Scorer`."""
        return combine(self._detector.detect(image, Stopwatch())).logit


class NetworkScorer:
    """A network in PyTorch.

    Args:
        model: in evaluation mode.
        path: its file.
        name: as reports call it.
        region: what of a picture it sees.
        calibration: of its logits.
    """

    def __init__(
        self, model: PatchModel, path: Path, name: str, region: str, calibration: Calibration
    ) -> None:
        self._model, self._region, self.name = model, parse_region(region), name
        self.facts = ModelFacts(
            name=name,
            file=path.name,
            sha256=_sha256(path),
            region=str(self._region),
            calibration=calibration,
            parameters=sum(weight.numel() for weight in model.parameters()),
            architecture=model.architecture,
            preprocessing=model.preprocessing,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close: the weights go with the object."""

    def __call__(self, image: Image) -> float:
        """The mean logit of the region's parts; see `Scorer`."""
        import torch

        from training.data.crops import normalised

        with torch.inference_mode():
            crops = cut(image, self._region)
            logits = [float(self._model(normalised(crop.image)[None])) for crop in crops]
        return math.fsum(logits) / len(logits)


def open_scorer(text: str, options: ModelOptions) -> Scorer:
    """The scorer of a shipped model's name or of a file; the suffix says which kind.

    Raises:
        ModelError: absent, broken, or of a kind that cannot be judged.
        UsageError: a published file without its architecture and preprocessing, or a wrong region.
        MissingDependency: a checkpoint where torch is absent.
    """
    path = find_model(text)
    if text in shipped() or path.suffix in (MODEL_FILE, ENGINE_SUFFIX):
        return ModelFileScorer(path, options)
    if path.suffix == CHECKPOINT or path.suffix in PUBLISHED:
        with torch_at_hand():
            return _open_network(path, options)
    raise ModelError(
        f"{path}: expected a checkpoint ({CHECKPOINT}), a model file ({MODEL_FILE}) or a published "
        f"file ({', '.join(PUBLISHED)}), or on the machine that built it an engine "
        f"({ENGINE_SUFFIX}); found a name that ends in {path.suffix!r}."
    )


@contextmanager
def open_scorers(texts: Sequence[str], options: ModelOptions) -> Iterator[list[Scorer]]:
    """Open all; those of one name get the names of their files, or numbers where these agree too.

    Raises:
        PatchwatchError: as `open_scorer`.
    """
    with ExitStack() as stack:
        scorers = [stack.enter_context(open_scorer(text, options)) for text in texts]
        names = [scorer.name for scorer in scorers]
        files = [scorer.facts.file for scorer in scorers]
        for number, scorer in enumerate(scorers, start=1):
            if names.count(scorer.name) > 1:
                file = scorer.facts.file
                scorer.name = f"{file} ({number})" if files.count(file) > 1 else file
                scorer.facts = scorer.facts.model_copy(update={"name": scorer.name})
        yield scorers


@contextmanager
def torch_at_hand() -> Iterator[None]:
    """Name the command that installs PyTorch and its like where they are absent."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in ("torch", "safetensors"):
            raise
        raise MissingDependency(library, "read a checkpoint", INSTALL) from error


def _open_network(path: Path, options: ModelOptions) -> NetworkScorer:
    import torch

    from training.checkpoint import load_checkpoint, load_published

    if options.threads:
        torch.set_num_threads(options.threads)
    if path.suffix == CHECKPOINT:
        model, card = load_checkpoint(path)
        region = options.region or card.region
        return NetworkScorer(model, path, card.name, region, card.calibration)
    if not options.architecture or not options.preprocessing:
        raise UsageError(
            f"{path} holds weights alone: give its --architecture and --preprocessing."
        )
    model = load_published(path, options.architecture, options.preprocessing)
    name = f"{path.stem} ({options.preprocessing})"
    return NetworkScorer(model, path, name, options.region or "native", Calibration())


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
