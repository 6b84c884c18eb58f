"""What is learned from faces, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import Dataset

from edge.errors import SourceError, UsageError
from edge.types import Batch, FloatArray
from training.checkpoint import Card, save_checkpoint
from training.data.cache import PictureCache
from training.data.crops import Sample, normalised, stacked
from training.evaluation import Logits, auc
from training.faces.augment import Augment
from training.faces.config import FacesConfig
from training.faces.faces_board import AUC, BALANCED, LOSS
from training.faces.grid import WORDS
from training.faces.model import read_face, score_faces
from training.loop import Figures, placed
from training.models.resnet18 import ResNet18

if TYPE_CHECKING:
    from training.faces.sets import FaceItem, FaceSet, Split

BOTH = "both"
SOURCES = {"base": "faceforensics", "augment": "youtube"}
"""Validation set → what the source of its faces is called where sets were put together."""

SetFigures = dict[str, dict[str, float]]
"""Validation set → measure → value."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The faces of a training.

    Attributes:
        train: to learn from; both labels occur.
        val: `base`, `augment` or both of them → to judge on; both labels occur in each.
    """

    train: Sequence[FaceItem]
    val: Mapping[str, Sequence[FaceItem]]


def choose(config: FacesConfig, sets: Mapping[str, FaceSet]) -> Chosen:
    """Take what a training needs from prepared sets.

    Args:
        config: of the training.
        sets: any of `base`, `augment` and `both`; the last stands for the two others where they
            are absent, and they for it.

    Raises:
        UsageError: the set to learn from is not among them.
        SourceError: a set lacks faces of a label.
    """
    train = _faces(sets, config.train_set, "train")
    if train is None:
        given = " and ".join(sets) or "none"
        raise UsageError(
            f"train_set {config.train_set} needs {_needed(config.train_set)}; given: {given}."
        )
    found = {name: _faces(sets, name, "val") for name in SOURCES}
    val = {name: faces for name, faces in found.items() if faces}
    if not val:
        raise SourceError("no set has faces for validation. Prepare one with a split val.")
    _require_both("training", train)
    for name, faces in val.items():
        _require_both(f"{name} validation", faces)
    return Chosen(_share(train, config.sample_share, config.seed), val)


def _faces(sets: Mapping[str, FaceSet], name: str, split: Split) -> list[FaceItem] | None:
    """The faces of a set's split; None where they can be had of no set."""
    if name in sets:
        return list(sets[name].items(split))
    if name == BOTH:
        parts = [_faces(sets, part, split) for part in SOURCES if part in sets]
        return [face for part in parts for face in part or ()] if len(parts) == 2 else None
    if BOTH in sets:
        return [face for face in sets[BOTH].items(split) if face.source == SOURCES[name]]
    return None


def _needed(name: str) -> str:
    return "--base and --augment, or --both" if name == BOTH else f"--{name}, or --both"


def _require_both(what: str, faces: Sequence[FaceItem]) -> None:
    for label, word in enumerate(WORDS):
        if not any(face.label == label for face in faces):
            raise SourceError(
                f"the {what} set has no {word} faces. Expected some of both labels: see what "
                "'patchwatch data prepare' said of it."
            )


def _share(faces: Sequence[FaceItem], share: float, seed: int) -> Sequence[FaceItem]:
    """A share of the faces of each label, at least one, drawn by the seed, in their order."""
    if share == 1:
        return faces
    kept: list[int] = []
    for label in range(len(WORDS)):
        places = [place for place, face in enumerate(faces) if face.label == label]
        rng = np.random.default_rng((seed, label))
        kept += rng.permutation(places)[: max(1, int(share * len(places)))].tolist()
    return [faces[place] for place in sorted(kept)]


class FaceSamples(Dataset[Sample]):
    """Sample i: a face, changed at random; every face comes once an epoch, in another order.

    Args:
        faces: to learn from.
        config: of the training.
        workers: loading processes that share the memory for decoded faces.
    """

    def __init__(self, faces: Sequence[FaceItem], config: FacesConfig, workers: int = 0) -> None:
        self._faces, self._config = faces, config
        self._per_epoch = config.steps_per_epoch(len(faces)) * config.batch
        self._augment = Augment(config.augment) if config.augment else None
        cache_mb = config.cache_mb // max(workers, 1)
        self._cache = PictureCache(cache_mb, partial(read_face, size=config.size))
        self._order = (-1, np.empty(0, dtype=np.intp))

    def __getitem__(self, index: int) -> Sample:
        face = self._faces[self._place(index)]
        image = self._cache.read(face.path)
        if self._augment is not None:
            seeds = np.random.SeedSequence((self._config.seed, index))
            image = self._augment(image, int(seeds.generate_state(1)[0]))
        return image, face.label

    def _place(self, index: int) -> int:
        epoch, step = divmod(index, self._per_epoch)
        if self._order[0] != epoch:
            rng = np.random.default_rng((self._config.seed, epoch))
            self._order = (epoch, rng.permutation(len(self._faces)))
        return int(self._order[1][step % len(self._faces)])


class FaceTraining:
    """The cross-entropy of the two classes, judged by the mean AUC over the validation sets.

    Args:
        model: what is trained.
        samples: faces with their labels.
        val: name → faces to judge on.
        size: of these, in pixels.
        card: of the model, without calibration and figures.
        workers: processes that read validation faces; 0 for none.

    Attributes:
        logits: of the last validation, by set.
    """

    def __init__(
        self,
        model: ResNet18,
        samples: Dataset[Sample],
        val: Mapping[str, Sequence[FaceItem]],
        size: int,
        card: Card,
        workers: int = 0,
    ) -> None:
        self.model, self.samples = model, samples
        self.collate: Callable[[Sequence[Any]], Any] = stacked
        self.logits: Mapping[str, Logits] = {}
        self._val, self._size, self._card, self._workers = val, size, card, workers
        self._device = torch.device("cpu")

    def prepare(self, device: torch.device) -> None:
        """Move the model."""
        self._device = device
        placed(self.model, device)

    def loss(self, batch: tuple[Batch, FloatArray]) -> Tensor:
        """Cross-entropy of faces, uint8 [N, H, W, 3] BGR."""
        faces = normalised(batch[0], self._device).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(batch[1]).to(self._device).long()
        return F.cross_entropy(self.model.class_logits(faces).float(), labels)

    def validate(self, progress: Progress) -> tuple[float, Figures]:
        """Mean AUC over the sets, and the figures of each of them under `sets`."""
        found = self.evaluate(progress)
        return mean_auc(found), {"sets": found}

    def evaluate(self, progress: Progress) -> SetFigures:
        """Judge the validation faces; keeps their logits."""
        total = sum(len(faces) for faces in self._val.values())
        task = progress.add_task("validation", total=total, note="")
        try:
            self.logits = {
                name: score_faces(
                    self.model,
                    faces,
                    self._size,
                    workers=self._workers,
                    on_faces=lambda count: progress.advance(task, count),
                )
                for name, faces in self._val.items()
            }
        finally:
            progress.remove_task(task)
        return {name: measured(self._val[name], x) for name, x in self.logits.items()}

    def save(self, path: Path) -> None:
        """Write the model with its card."""
        save_checkpoint(path, self.model, self._card)


def mean_auc(figures: SetFigures) -> float:
    """Mean over the validation sets."""
    return float(np.mean([values[AUC] for values in figures.values()]))


def measured(faces: Sequence[FaceItem], logits: Logits) -> dict[str, float]:
    """Figures of faces of both labels.

    Returns:
        The area under the ROC curve of the logits; the mean of the shares of real and of fake
        faces that lie on their side of 0, which is what the same area gives where it is taken
        of predictions instead of logits; and the mean cross-entropy.
    """
    labels = np.array([face.label for face in faces])
    reals, fakes = logits[labels == 0], logits[labels == 1]
    return {
        AUC: auc(reals, fakes),
        BALANCED: float(((reals <= 0).mean() + (fakes > 0).mean()) / 2),
        LOSS: float((np.logaddexp(0, logits) - labels * logits).mean()),
    }
