"""What turns a picture into a logit: a checkpoint, a model file or a published file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.backends import ENGINE_SUFFIX, open_backend
from edge.detector import Detector, Stopwatch, combine
from edge.errors import MissingDependency, ModelError, UsageError
from edge.files import sha256_of
from edge.manifest import Calibration
from edge.regions import cut, parse_region
from edge.types import Image
from edge.weights import find_model, shipped
from training.evaluation.record import ModelFacts
from training.files import reading
from training.shipped import shipped_checkpoints

CHECKPOINT, MODEL_FILE, PUBLISHED = ".safetensors", ".onnx", (".pth", ".pt")
INSTALL = "pip install 'patchwatch[train]'"


@dataclass(slots=True)
class Scorer:
    """An open model.

    `logit` is of a picture, uint8 [H, W, 3] BGR: the mean over the parts of its region, not checked
    for NaN; a RegionError where it is smaller than one patch, a ModelError where the runtime
    refused it.
    """

    facts: ModelFacts
    logit: Callable[[Image], float]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How models are opened; the architecture and the preprocessing are those of published files.

    Without a region each model has its own, without threads an operator takes every core.
    """

    region: str | None = None
    architecture: str | None = None
    preprocessing: str | None = None
    threads: int | None = None


@contextmanager
def open_scorer(text: str, options: ModelOptions) -> Iterator[Scorer]:
    """The scorer of a shipped model's name or of a file; the suffix says which kind.

    Raises:
        ModelError: absent, broken, or of a kind that cannot be judged.
        UsageError: a published file without its architecture and preprocessing, or a wrong region.
        MissingDependency: a checkpoint where torch is absent.
    """
    path = shipped_checkpoints().get(text) if text not in shipped() else None
    path = path or find_model(text)
    if text in shipped() or path.suffix in (MODEL_FILE, ENGINE_SUFFIX):
        with _model_file(path, options) as scorer:
            yield scorer
    elif path.suffix == CHECKPOINT or path.suffix in PUBLISHED:
        with training_installed():
            scorer = _network(path, options)
        yield scorer
    else:
        raise ModelError(
            f"{path}: expected a checkpoint ({CHECKPOINT}), a model file ({MODEL_FILE}) or a "
            f"published file ({', '.join(PUBLISHED)}), or on the machine that built it an engine "
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
        names = [scorer.facts.name for scorer in scorers]
        files = [scorer.facts.file for scorer in scorers]
        for number, (scorer, name, file) in enumerate(zip(scorers, names, files, strict=True), 1):
            if names.count(name) > 1:
                own = f"{file} ({number})" if files.count(file) > 1 else file
                scorer.facts = scorer.facts.model_copy(update={"name": own})
        yield scorers


@contextmanager
def training_installed() -> Iterator[None]:
    """Name the command that installs PyTorch and its like where they are absent."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in ("torch", "safetensors", "sklearn", "scipy"):
            raise
        raise MissingDependency(library, "evaluate a model", INSTALL) from error


@contextmanager
def _model_file(path: Path, options: ModelOptions) -> Iterator[Scorer]:
    """On the device's own code."""
    with open_backend(path, options.threads) as backend:
        manifest = backend.manifest
        region = parse_region(options.region or manifest.region)
        detector = Detector(backend, region)
        facts = ModelFacts(
            name=manifest.name,
            file=path.name,
            sha256=_sha256(path),
            region=str(region),
            calibration=manifest.calibration,
            parameters=manifest.parameters,
            architecture=manifest.architecture,
            preprocessing=manifest.preprocessing,
        )
        yield Scorer(facts, lambda image: combine(detector.detect(image, Stopwatch())).logit)


def _network(path: Path, options: ModelOptions) -> Scorer:
    """In PyTorch."""
    import torch

    from training.checkpoint import load_checkpoint, load_published
    from training.data.crops import normalised

    if options.threads:
        torch.set_num_threads(options.threads)
    if path.suffix == CHECKPOINT:
        model, card = load_checkpoint(path)
        name, region, calibration = card.name, card.region, card.calibration
    elif options.architecture and options.preprocessing:
        model = load_published(path, options.architecture, options.preprocessing)
        name, region = f"{path.stem} ({options.preprocessing})", "native"
        calibration = Calibration()
    else:
        raise UsageError(
            f"{path} holds weights alone: give its --architecture and --preprocessing."
        )
    spec = parse_region(options.region or region)
    facts = ModelFacts(
        name=name,
        file=path.name,
        sha256=_sha256(path),
        region=str(spec),
        calibration=calibration,
        parameters=sum(weight.numel() for weight in model.parameters()),
        architecture=model.architecture,
        preprocessing=model.preprocessing,
    )

    def logit(image: Image) -> float:
        crops = [crop.image for crop in cut(image, spec)]
        with torch.inference_mode():
            return math.fsum(float(model(normalised(c)[None])) for c in crops) / len(crops)

    return Scorer(facts, logit)


def _sha256(path: Path) -> str:
    with reading(path):
        return sha256_of(path)
