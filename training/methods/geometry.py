"""Two patch maps of one picture, aligned with each other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edge.errors import RegionError
from edge.manifest import PatchGrid
from edge.types import FloatArray

LEAST_COVERED = 0.5
"""Share of a coarse patch's cell that the finer map must cover, or the patch is left out."""


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
        teacher, student = _onto(teacher_map, teacher_grid, student_map, student_grid)
    else:
        student, teacher = _onto(student_map, student_grid, teacher_map, teacher_grid)
    return teacher, student


def _onto(
    coarse_map: Tensor, coarse: PatchGrid, fine_map: Tensor, fine: PatchGrid
) -> tuple[Tensor, Tensor]:
    weights, kept = zip(
        *(
            _axis(n_coarse, coarse, n_fine, fine)
            for n_coarse, n_fine in zip(coarse_map.shape[-2:], fine_map.shape[-2:], strict=True)
        ),
        strict=True,
    )
    rows, columns = (torch.from_numpy(w).to(fine_map) for w in weights)
    mean = torch.einsum("yh,nhw,xw->nyx", rows, fine_map, columns)
    return coarse_map[:, kept[0]][:, :, kept[1]], mean


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
