"""Distillation: a student learns its teachers' patch logits, in two ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edge.errors import RegionError, SourceError, UsageError
from edge.files import sha256_of
from edge.manifest import PatchGrid
from edge.sources.images import read_image
from edge.types import FloatArray
from training.checkpoint import PUBLISHED, Card, load_checkpoint, load_published
from training.config import DistillConfig, TeachingConfig
from training.data.crops import normalised
from training.data.folders import Picture
from training.evaluation.metrics import Estimate, estimate
from training.files import reading
from training.methods.base import Batch, Figures, model_input
from training.methods.labels import LabelTraining
from training.models import PatchModel
from training.models.preprocess import preprocessing_margin
from training.shipped import find_checkpoint
from training.validation import View

TEACHER_SIDE, STUDENT_SIDE = 9, 10
"""Pixels of a patch in the published way."""

RANKED, RANK_DRAWS = 64, 200
"""Patches of a picture that are ranked at most, and how often pictures are drawn again."""

LEAST_COVERED = 0.5
"""Share of a coarse patch's cell that the finer map must cover, or the patch is left out."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that is learned from, in evaluation mode, without gradients; and its file."""

    model: PatchModel
    name: str
    path: Path
    sha256: str

    def describe(self) -> str:
        """For the card of the student."""
        made = f"{self.model.architecture} with {self.model.preprocessing}"
        return f"{self.name} ({made}, sha256 {self.sha256})"


class Distillation(LabelTraining):
    """A student that learns the patch logits of at least one teacher, judged by the mean AUC as any
    other; the rest as of `LabelTraining`.
    """

    def __init__(
        self,
        student: PatchModel,
        config: DistillConfig,
        pictures: Sequence[Picture],
        card: Card,
        teachers: Sequence[PatchModel],
    ) -> None:
        super().__init__(student, config, pictures, card)
        self.teaching = config.teaching
        # In a tuple, so that they are no part of the checkpoint.
        self.teachers = tuple(one.eval().requires_grad_(False) for one in teachers)
        count = min(config.teaching.agreement, len(pictures))
        self._compared = [pictures[index * len(pictures) // count] for index in range(count)]

    def on_fit_start(self) -> None:
        """Bring the teachers to the student."""
        for teacher in self.teachers:
            teacher.to(self.device)
            teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # untyped

    def loss(self, batch: Batch) -> Tensor:
        """The difference to the teachers, who see the clean crops where there are such."""
        shown = model_input(batch["frames"])
        if self.teaching.kept:  # the frames are patches, and judged
            return difference(self.model(shown).float(), batch["logit"], self.teaching)
        clean = model_input(batch["clean"]) if "clean" in batch else shown
        if self.teaching.way == "patches":
            return patch_loss(self.model, self.teachers, shown, clean, self.teaching)
        return dense_loss(self.model, self.teachers, shown, clean, batch["label"], self.teaching)

    def measured(self, logits: npt.NDArray[np.float64]) -> tuple[float, Figures]:
        """As of a training with labels, and the agreement with the teachers."""
        score, figures = super().measured(logits)
        return score, {**figures, **({"correlation": self.agreement()} if self._compared else {})}

    def ranks(self) -> dict[str, Estimate]:
        """As of `rank_correlation`, with the first teacher, on the same pictures."""
        first = self.teachers[:1]
        return rank_correlation(paired_maps(self.model, first, self._compared, self.view)[0])

    def agreement(self) -> float:
        """Correlation with the teachers on some validation pictures; see `correlation`."""
        return correlation(self.model, self.teachers, self._compared, self.view)


def dense_loss(
    student: PatchModel,
    teachers: Sequence[PatchModel],
    shown: Tensor,
    clean: Tensor,
    labels: Tensor,
    config: TeachingConfig,
) -> Tensor:
    """w · difference of the aligned maps + (1 − w) · cross-entropy with the pictures' labels.

    Of several teachers, whose maps may lie differently, the mean of the differences is taken. Its
    gradient is that of the difference from their mean: squares and cross-entropies allow it.

    Args:
        student: in training mode.
        teachers: in evaluation mode, of any patch grids.
        shown: what the student sees, float32 [N, 3, H, W], RGB, ImageNet-normalised.
        clean: what the teachers see, likewise; may be the same.
        labels: float32 [N]; real 0, fake 1.
        config: weight and form of the loss.
    """
    patches = student.patch_logits(shown).float()
    differences = []
    for teacher in teachers:
        with torch.no_grad():
            target = teacher.patch_logits(clean).float()
        with torch.autocast(shown.device.type, enabled=False):
            theirs, ours = aligned(target, teacher.grid, patches, student.grid)
        differences.append(difference(ours, theirs, config))
    of_map = torch.stack(differences).mean()
    if config.weight == 1:
        return of_map
    of_label = F.binary_cross_entropy_with_logits(student.pooled(patches), labels)
    return config.weight * of_map + (1 - config.weight) * of_label


def patch_loss(
    student: PatchModel,
    teachers: Sequence[PatchModel],
    shown: Tensor,
    clean: Tensor,
    config: TeachingConfig,
) -> Tensor:
    """The published way: the teacher's logit of a 9×9 patch is the student's of 10×10 pixels.

    Cavia et al., Real-Time Deepfake Detection in the Real-World, 2024. The teacher's preprocessing
    sees the whole picture, which is then cut into patches; the student is shown the raw pixels
    there, with one more row and column for its own preprocessing. torch's generator draws the
    patches from the whole batch. Arguments as of `dense_loss`; labels are not learned from.
    """
    rows, columns = ((side - STUDENT_SIDE) // config.stride + 1 for side in shown.shape[2:])
    axes = [torch.arange(n) for n in (shown.shape[0], rows, columns)]
    places = torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")])
    if config.patches is not None:
        places = places[:, torch.randperm(places.shape[1])[: config.patches]]
    logits = judged_patches(teachers, clean, config.stride, places)
    patches = cut(shown, STUDENT_SIDE, config.stride, places)
    ours = student(patches.contiguous(memory_format=torch.channels_last)).float()
    return difference(ours, logits, config)


@torch.no_grad()
def judged_patches(
    teachers: Sequence[PatchModel], pictures: Tensor, stride: int, places: Tensor
) -> Tensor:
    """The teachers' mean logit of 9×9 patches, float32 [P]; places as of `cut`."""
    logits = []
    for teacher in teachers:
        patches = cut(teacher.preprocess(pictures), TEACHER_SIDE, stride, places)
        maps = teacher.map_head(teacher.features(patches)).squeeze(1)
        logits.append(teacher.pooled(maps).float())
    return torch.stack(logits).mean(dim=0)


def cut(pictures: Tensor, side: int, stride: int, places: Tensor) -> Tensor:
    """Patches as little pictures; only those asked for are copied.

    Args:
        pictures: float [N, C, H, W].
        side: of a patch in pixels.
        stride: between neighbours in pixels.
        places: int64 [3, P], picture, row and column.

    Returns:
        float [P, C, side, side].
    """
    view = pictures.unfold(2, side, stride).unfold(3, side, stride).permute(0, 2, 3, 1, 4, 5)
    picture, row, column = places.to(pictures.device)
    return view[picture, row, column]


def difference(student: Tensor, teacher: Tensor, config: TeachingConfig) -> Tensor:
    """Mean difference of logits of one shape.

    The form bce is T² times the cross-entropy of the student's tempered probability against the
    teacher's, so that gradients keep their size whatever T is: Hinton, Vinyals and Dean, Distilling
    the Knowledge in a Neural Network, 2015.
    """
    if config.loss == "mse":
        return F.mse_loss(student, teacher)
    t = config.temperature
    return t * t * F.binary_cross_entropy_with_logits(student / t, torch.sigmoid(teacher / t))


@torch.no_grad()
def correlation(
    student: PatchModel, teachers: Sequence[PatchModel], pictures: Sequence[Picture], view: View
) -> float:
    """Pearson's correlation of the aligned patch logits over all places of untouched pictures.

    Args:
        student: on any device; left in the mode that it came in.
        teachers: on the same device, in evaluation mode; the mean of their correlations is given.
        pictures: those too small for a teacher are passed over.
        view: what of a picture is seen.

    Returns:
        −1..1; 0 where a map is constant, or no picture is large enough.
    """
    maps = paired_maps(student, teachers, pictures, view)
    empty = np.zeros((2, 0), np.float32)
    both = [np.concatenate([empty, *found], axis=1, dtype=np.float64) for found in maps]
    return float(
        np.mean(
            [np.asarray(np.corrcoef(x))[0, 1] if x.size and np.ptp(x, 1).all() else 0 for x in both]
        )
    )


@torch.no_grad()
def paired_maps(
    student: PatchModel, teachers: Sequence[PatchModel], pictures: Sequence[Picture], view: View
) -> list[list[FloatArray]]:
    """Per teacher and picture the aligned patch logits, its own and the student's: [2, places]."""
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    maps: list[list[FloatArray]] = [[] for _ in teachers]
    for picture in pictures:
        try:
            crop = normalised(view.of(read_image(picture.path)), device)[None]
        except SourceError:  # the validation has named it
            continue
        ours = student.patch_logits(crop)
        for teacher, found in zip(teachers, maps, strict=True):
            if min(crop.shape[-2:]) >= teacher.grid.smallest_input():
                pair = aligned(teacher.patch_logits(crop), teacher.grid, ours, student.grid)
                found.append(torch.stack(pair).flatten(1).cpu().numpy())
    student.train(was_training)
    return maps


def rank_correlation(maps: Sequence[FloatArray], seed: int = 0) -> dict[str, Estimate]:
    """Spearman's correlation of patch logits and of picture logits, with 95 % intervals.

    The intervals draw pictures again, as patches of one picture resemble each other.

    Args:
        maps: of each picture, float32 [2, places], the teacher's and the student's.
        seed: of the draws.

    Returns:
        `patch` and `picture` → value, low and high end; without those that are not defined, as
        where a side is constant.
    """
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    rng = np.random.default_rng(seed)
    few = [m[:, rng.permutation(m.shape[1])[:RANKED]] for m in maps if m.shape[1]]
    sides = {"patch": few, "picture": [m.mean(axis=1, keepdims=True) for m in maps if m.shape[1]]}

    def spearman(columns: Sequence[FloatArray]) -> float:
        both = np.concatenate(columns, axis=1)
        if both.shape[1] < 2 or not np.ptp(both, axis=1).all():
            return float("nan")
        return float(np.corrcoef(rankdata(both, axis=1))[0, 1])

    found = {}
    for name, columns in sides.items():
        if not columns:
            continue
        chosen = rng.integers(len(columns), size=(RANK_DRAWS, len(columns)))
        draws = np.array([spearman([columns[place] for place in draw]) for draw in chosen])
        made = estimate(spearman(columns), draws)
        if made is not None:
            found[name] = made
    return found


def aligned(
    teacher_map: Tensor, teacher_grid: PatchGrid, student_map: Tensor, student_grid: PatchGrid
) -> tuple[Tensor, Tensor]:
    """Bring the maps of a teacher and a student to the same places.

    A patch stands for the cell around its centre, as wide as its grid's stride. The finer map is
    averaged over the cells of the coarser one, each of its own cells weighted by what of it lies
    within. With equal strides that is linear interpolation of the teacher's map, and with equal
    centres the map itself; else the middle of what is averaged is off the coarse patch's centre by
    fine² / (8 · coarse) pixels at most, of the strides. Coarse patches of whose cell the finer map
    covers less than half are left out.

    Args:
        teacher_map: float [N, h, w].
        teacher_grid: where its patches lie on the picture.
        student_map: float [N, h', w'], of the same pictures.
        student_grid: where its patches lie.

    Returns:
        Teacher and student, both float [N, h″, w″], differentiable.

    Raises:
        RegionError: the maps have no place in common.
    """
    if teacher_grid.stride > student_grid.stride:
        return _onto(teacher_map, teacher_grid, student_map, student_grid)
    student, teacher = _onto(student_map, student_grid, teacher_map, teacher_grid)
    return teacher, student


def _onto(
    coarse_map: Tensor, coarse: PatchGrid, fine_map: Tensor, fine: PatchGrid
) -> tuple[Tensor, Tensor]:
    down, across = (
        _axis(n_coarse, coarse, n_fine, fine)
        for n_coarse, n_fine in zip(coarse_map.shape[-2:], fine_map.shape[-2:], strict=True)
    )
    rows, columns = (torch.from_numpy(axis[0]).to(fine_map) for axis in (down, across))
    mean = torch.einsum("yh,nhw,xw->nyx", rows, fine_map, columns)
    return coarse_map[:, down[1]][:, :, across[1]], mean


def _axis(
    n_coarse: int, coarse: PatchGrid, n_fine: int, fine: PatchGrid
) -> tuple[FloatArray, slice]:
    """Weights of fine patches per coarse patch that is kept, and which these are."""
    from_, to = _cells(n_coarse, coarse)
    start, stop = _cells(n_fine, fine)
    shared = np.minimum(to[:, None], stop) - np.maximum(from_[:, None], start)
    weights = np.clip(shared, 0, None) / coarse.stride
    covered = weights.sum(axis=1)
    kept = np.flatnonzero(covered >= LEAST_COVERED)
    if not len(kept):
        raise RegionError(
            f"the patch maps of teacher and student have no place in common: {n_coarse} patches of "
            f"{coarse.receptive_field} px every {coarse.stride} px and {n_fine} of "
            f"{fine.receptive_field} px every {fine.stride} px. Use larger crops."
        )
    chosen = slice(int(kept[0]), int(kept[-1]) + 1)
    normal: FloatArray = (weights[chosen] / covered[chosen, None]).astype(np.float32)
    return normal, chosen


def _cells(n: int, grid: PatchGrid) -> tuple[FloatArray, FloatArray]:
    """Begin and end of each patch's cell on the picture, in pixels."""
    centres = grid.offset + np.arange(n) * grid.stride + grid.receptive_field / 2
    return centres - grid.stride / 2, centres + grid.stride / 2


def load_teachers(config: DistillConfig, student: PatchModel) -> tuple[Teacher, ...]:
    """Read all teachers, and check that they can teach the student in the configured way.

    Raises:
        UsageError: none is named, a file is not the one expected, or one cannot teach so.
        ModelError: a file cannot be used.
    """
    teaching = config.teaching
    if not teaching.teachers:
        raise UsageError(
            "no teacher is named. Give --teacher FILE, or teaching.teachers in the file."
        )
    teachers = tuple(_load(path, teaching) for path in teaching.teachers)
    found = tuple(teacher.sha256 for teacher in teachers)
    if teaching.sha256 and teaching.sha256 != found:
        raise UsageError(
            f"teaching.sha256: expected {', '.join(teaching.sha256)}, found {', '.join(found)} in "
            f"{', '.join(map(str, teaching.teachers))}. Name the right files, or correct the key."
        )
    patches = teaching.way == "patches"
    least = {f"teacher {t.path}": t.model.grid.smallest_input() for t in teachers}
    least[f"student {student.architecture}"] = student.grid.smallest_input()
    least["way patches"] = STUDENT_SIDE if patches else 1
    for who, side in least.items():
        if config.data.crop < side:
            raise UsageError(
                f"{who} needs crops of at least {side}×{side} pixels, found data.crop "
                f"{config.data.crop}. Raise data.crop."
            )
    for teacher in teachers if patches else ():
        # Its preprocessing sees the whole picture, and the network is shown what comes of it.
        margin = preprocessing_margin(teacher.model.preprocessing)
        side = teacher.model.grid.receptive_field - 2 * margin
        if side != TEACHER_SIDE:
            raise UsageError(
                f"way patches: expected a teacher that sees {TEACHER_SIDE}×{TEACHER_SIDE} pixels, "
                f"found {side}×{side} in {teacher.path}. Use teaching.way=dense, which takes any."
            )
    side = max(student.grid.smallest_input(), student.grid.receptive_field)
    if patches and side > STUDENT_SIDE:
        raise UsageError(
            f"way patches: expected a student that sees at most {STUDENT_SIDE}×{STUDENT_SIDE} "
            f"pixels, found {side}×{side} in {student.architecture} with "
            f"{student.preprocessing}. Use teaching.way=dense."
        )
    return teachers


def _load(path: Path, config: TeachingConfig) -> Teacher:
    path = find_checkpoint(path)
    if path.suffix in PUBLISHED:
        model = load_published(path, config.architecture, config.preprocessing)
        name = path.stem
    else:
        model, card = load_checkpoint(path)
        name = card.name
    with reading(path):
        digest = sha256_of(path)
    return Teacher(model.eval().requires_grad_(False), name, path, digest)
