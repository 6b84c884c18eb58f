from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edge.errors import RegionError
from edge.manifest import PatchGrid
from training.methods.distill import aligned
from training.models import build


def ramp(n: int, grid: PatchGrid) -> Tensor:
    """A map [1, n, n] whose patches tell the rows of their centres."""
    centres = grid.offset + torch.arange(n) * grid.stride + grid.receptive_field / 2
    return centres[None, :, None].expand(1, n, n)


def test_equal_grids_stay_as_they_are() -> None:
    grid = PatchGrid(receptive_field=9, stride=8)
    maps = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    assert all(torch.equal(a, b) for a, b in zip(aligned(maps[0], grid, maps[1], grid), maps,
                                                  strict=True))  # fmt: skip


def test_a_teacher_of_9_by_8_against_a_student_of_7_by_2() -> None:
    # Of 25 pixels: teacher's centres 4.5, 12.5, 20.5 with cells 0.5…8.5, 8.5…16.5, 16.5…24.5;
    # student's centres 2.5, 4.5 … 22.5, each with a cell from 1 before to 1 after.
    teacher, student = PatchGrid(receptive_field=9, stride=8), PatchGrid(
        receptive_field=7, stride=2, offset=-1
    )  # fmt: skip
    row = torch.arange(11.0)
    t, s = aligned(torch.arange(9.0).view(1, 3, 3), teacher, row.expand(1, 11, 11), student)
    assert torch.equal(t, torch.arange(9.0).view(1, 3, 3))
    inner = (3 * 1 + 4 * 2 + 5 * 2 + 6 * 2 + 7 * 1) / 8
    first = (0 * 2 + 1 * 2 + 2 * 2 + 3 * 1) / 7  # the map begins 1 px into the cell
    last = (7 * 1 + 8 * 2 + 9 * 2 + 10 * 2) / 7
    assert torch.allclose(s[0, 1], torch.tensor([first, inner, last]))


def test_a_finer_teacher_is_averaged_onto_the_student() -> None:
    fine, coarse = PatchGrid(receptive_field=1, stride=1), PatchGrid(receptive_field=4, stride=4)
    picture = torch.randn(2, 8, 12)
    t, s = aligned(picture, fine, torch.zeros(2, 2, 3), coarse)
    assert torch.allclose(t, torch.nn.functional.avg_pool2d(picture, 4), atol=1e-6)
    assert s.shape == (2, 2, 3)


def test_equal_strides_are_interpolated_between_centres() -> None:
    teacher = PatchGrid(receptive_field=9, stride=8)  # centres 4.5, 12.5, 20.5
    student = PatchGrid(receptive_field=17, stride=8, offset=-2)  # centres 6.5, 14.5, 22.5
    row = torch.tensor([[[0.0, 8.0, 16.0]]]).expand(1, 3, 3)
    t, s = aligned(row, teacher, row, student)
    assert torch.allclose(t[0, 0], torch.tensor([2.0, 10.0, 16.0])) and s.shape == (1, 3, 3)


def test_cells_covered_by_less_than_half_are_left_out() -> None:
    coarse = PatchGrid(receptive_field=4, stride=4)  # cells 0…4, 4…8, 8…12
    fine = PatchGrid(receptive_field=1, stride=1, offset=3)  # cells 3…4, 4…5, …
    t, s = aligned(torch.arange(3.0).expand(1, 3, 3), coarse, torch.ones(1, 7, 7), fine)
    assert t[0, 0].tolist() == [1.0, 2.0][: t.shape[2]] and t.shape == s.shape == (1, 2, 2)


def test_maps_without_a_common_place_are_told() -> None:
    far = PatchGrid(receptive_field=1, stride=1, offset=500)
    near = PatchGrid(receptive_field=4, stride=4)
    with pytest.raises(RegionError, match="no place in common"):
        aligned(torch.ones(1, 2, 2), near, torch.ones(1, 3, 3), far)


grids = st.builds(
    PatchGrid,
    receptive_field=st.integers(1, 33),
    stride=st.integers(1, 16),
    offset=st.integers(-8, 8),
)


@settings(max_examples=60, deadline=None)
@given(grids, grids)
def test_no_map_is_shifted(teacher: PatchGrid, student: PatchGrid) -> None:
    n_teacher, n_student = (max(2, 160 // g.stride) for g in (teacher, student))
    t, s = aligned(ramp(n_teacher, teacher), teacher, ramp(n_student, student), student)
    assert t.shape == s.shape
    inside = (slice(None), slice(1, -1))  # the outermost cells may be covered in part
    least, most = sorted((teacher.stride, student.stride))
    bound = 0 if most == least else least**2 / (8 * most)
    assert np.abs((t[inside] - s[inside]).numpy()).max(initial=0) <= bound + 1e-3


def test_the_gradient_reaches_the_student() -> None:
    teacher, student = build("ladeda9", "NPR").eval(), build("tiny_ladeda", "x_grad")
    picture = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        taught = teacher.patch_logits(picture)
    t, s = aligned(taught, teacher.grid, student.patch_logits(picture), student.grid)
    assert t.shape == s.shape == taught.shape
    (t - s).square().mean().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert student.fc.weight.grad is not None and student.fc.weight.grad.abs().sum() > 0
