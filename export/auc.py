"""What judging otherwise costs on labelled pictures: the same ones by two ways of judging.

Needs numpy and the device's own code alone, so that a board can measure its engine with it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.decision.verdict import judge_once
from edge.errors import ModelError, RegionError, SourceError
from edge.labels import LABEL_FOLDERS, LABEL_WORDS, STANDARD, UNSORTED, LabelFolders
from edge.manifest import Calibration
from edge.sources.images import is_image, read_image
from edge.sources.walk import walk
from edge.types import Image

LARGEST_LOSS = 0.005
"""Of mean AUC per generator; what costs more is not used."""

Judge = Callable[[Image], float]
"""A picture, uint8 [H, W, 3] BGR → its logit."""

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture with its label (real 0, fake 1) and its source, a camera or a generator."""

    path: Path
    label: int
    source: str


@dataclass(frozen=True, slots=True)
class Loss:
    """The quality of two ways of judging on the same pictures: generator → AUC against all
    photographs, how many pictures each source and generator has, the share with the same verdict
    at the model's threshold, and a sentence for each that could not be judged.
    """

    reference: Mapping[str, float]
    candidate: Mapping[str, float]
    photographs: Mapping[str, int]
    generated: Mapping[str, int]
    agreement: float
    left_out: tuple[str, ...] = ()

    @property
    def reference_auc(self) -> float:
        """Mean over generators, of the first way."""
        return math.fsum(self.reference.values()) / len(self.reference)

    @property
    def candidate_auc(self) -> float:
        return math.fsum(self.candidate.values()) / len(self.candidate)

    @property
    def lost(self) -> float:
        """How much lower the second mean is; negative where it is higher."""
        return self.reference_auc - self.candidate_auc

    @property
    def pictures(self) -> int:
        return sum(self.photographs.values()) + sum(self.generated.values())


def compare(
    folder: Path,
    reference: Judge,
    candidate: Judge,
    calibration: Calibration,
    tell: Callable[[int, int], None] = lambda done, total: None,
    labels: LabelFolders = STANDARD,
) -> Loss:
    """Judge every picture of a folder, `0_real/<source>/…` and `1_fake/<generator>/…`, both ways.

    `labels` are further names of these folders. A picture of which either way raises RegionError is
    left out. The calibration's threshold divides the verdicts; `tell` hears how many pictures of
    how many are done. SourceError where the folder has no such layout, or no picture of a label can
    be judged; ModelError where a logit is not finite.
    """
    pictures = find_labelled(folder, labels)
    judged: list[tuple[Labelled, float, float]] = []
    left_out: list[str] = []
    for done, picture in enumerate(pictures):
        tell(done, len(pictures))
        try:
            image = read_image(picture.path)
            logits = [_finite(judge(image), picture.path) for judge in (reference, candidate)]
            judged.append((picture, logits[0], logits[1]))
        except (SourceError, RegionError) as error:
            left_out.append(f"{picture.path}: {error}")
    tell(len(pictures), len(pictures))
    _require_both([picture for picture, _, _ in judged], folder, left_out, labels)
    kept = [picture for picture, _, _ in judged]
    first, second = (np.array([row[place] for row in judged], np.float64) for place in (1, 2))
    return loss_of(kept, first, second, calibration, tuple(left_out))


def find_labelled(folder: Path, labels: LabelFolders = STANDARD) -> list[Labelled]:
    """The pictures of a folder in the order of their paths, none opened; SourceError where there is
    none of a label.
    """
    found = []
    for label in (0, 1):
        for name in labels.names(label):
            direct = UNSORTED if name == LABEL_FOLDERS[label] else name
            for path in sorted(map(Path, walk(str(folder / name), is_image))):
                inside = path.relative_to(folder / name).parts
                found.append(Labelled(path, label, inside[0] if len(inside) > 1 else direct))
    _require_both(found, folder, (), labels)
    return found


def loss_of(
    pictures: Sequence[Labelled],
    reference: Logits,
    candidate: Logits,
    calibration: Calibration,
    left_out: tuple[str, ...] = (),
) -> Loss:
    """Compare finite logits [pictures] of the same pictures; the threshold divides the verdicts."""
    labels = np.array([picture.label for picture in pictures])
    sources = np.array([picture.source for picture in pictures])
    generators = sorted(set(sources[labels == 1].tolist()))

    def aucs(logits: Logits) -> dict[str, float]:
        reals = logits[labels == 0]
        return {g: auc(reals, logits[(labels == 1) & (sources == g)]) for g in generators}

    same = [
        judge_once(calibration, float(a)).state == judge_once(calibration, float(b)).state
        for a, b in zip(reference, candidate, strict=True)
    ]
    counts = [dict(sorted(Counter(sources[labels == label].tolist()).items())) for label in (0, 1)]
    agreement = sum(same) / len(same)
    return Loss(aucs(reference), aucs(candidate), counts[0], counts[1], agreement, left_out)


def auc(reals: Logits, fakes: Logits) -> float:
    """Area under the ROC curve: P(fake > real) + ½ P(fake = real) (Mann and Whitney, 1947), of
    finite logits of photographs and of generated pictures, at least one each.
    """
    ordered = np.sort(reals)
    below = np.searchsorted(ordered, fakes, side="left")
    not_above = np.searchsorted(ordered, fakes, side="right")
    return float((below + not_above).mean() / (2 * len(ordered)))


def require(loss: Loss, folder: Path, what: str) -> None:
    """Raise ModelError for a loss beyond `LARGEST_LOSS`; `what` begins the sentence."""
    if loss.lost > LARGEST_LOSS:
        raise ModelError(
            f"{what}: the mean AUC per generator on {loss.pictures} pictures of {folder} falls "
            f"from {loss.reference_auc:.4f} to {loss.candidate_auc:.4f}, by {loss.lost:.4f} where "
            f"{LARGEST_LOSS} is allowed."
        )


def _require_both(
    pictures: Sequence[Labelled], folder: Path, left_out: Sequence[str], labels: LabelFolders
) -> None:
    for label in (0, 1):
        if not any(picture.label == label for picture in pictures):
            why = f" The first of {len(left_out)} left out: {left_out[0]}" if left_out else ""
            raise SourceError(
                f"{folder} has no {LABEL_WORDS[label]} to judge. Expected some in "
                f"{folder / labels.names(label)[0]}/<source>/.{why}"
            )


def _finite(logit: float, path: Path) -> float:
    if not math.isfinite(logit):
        raise ModelError(f"{path}: its logit is {logit}, and nothing can be ranked by that.")
    return logit
