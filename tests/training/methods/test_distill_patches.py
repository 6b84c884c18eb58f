from __future__ import annotations

import pytest
import torch

from training.methods.distill_patches import (
    STUDENT_SIDE,
    TEACHER_SIDE,
    cut,
    every_patch,
    student_logits,
    teacher_logits,
)
from training.models import PatchModel, build


def model(architecture: str, preprocessing: str) -> PatchModel:
    torch.manual_seed(0)
    made = build(architecture, preprocessing).eval()
    for name, buffer in made.named_buffers():  # as after a training, not the identity
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return made


@pytest.mark.parametrize(("side", "count"), [(224, 27), (10, 1), (65, 7), (128, 15)])
def test_as_many_patches_as_have_the_students_pixels(side: int, count: int) -> None:
    assert every_patch(torch.Size((1, 3, side, side)), 8).shape == (3, count**2)


def test_patches_lie_where_they_should() -> None:
    pictures = torch.arange(2 * 3 * 30 * 40.0).view(2, 3, 30, 40)
    patches = cut(pictures, 10, 8, torch.tensor([[1, 0], [2, 0], [3, 1]]))
    assert torch.equal(patches[0], pictures[1, :, 16:26, 24:34])
    assert torch.equal(patches[1], pictures[0, :, 0:10, 8:18])


@torch.no_grad()
@pytest.mark.parametrize("preprocessing", ["NPR", "raw"])
@pytest.mark.parametrize("stride", [8, 6])
def test_the_teacher_says_of_a_cut_patch_what_it_says_of_the_patch_alone(
    preprocessing: str, stride: int
) -> None:
    teacher = model("ladeda9", preprocessing)
    pictures = torch.randn(2, 3, 34, 42)
    places = every_patch(pictures.shape, stride)
    logits = teacher_logits([teacher], pictures, stride, places)
    raw = cut(pictures, TEACHER_SIDE, stride, places)
    alone = torch.cat([teacher(patch[None]) for patch in raw])
    assert torch.allclose(logits, alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_at_its_own_stride_that_is_the_teachers_map() -> None:
    teacher = model("ladeda9", "NPR")
    pictures = torch.randn(2, 3, 34, 42)
    logits = teacher_logits([teacher], pictures, 8, every_patch(pictures.shape, 8))
    assert torch.allclose(logits, teacher.patch_logits(pictures).flatten(), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_teachers_are_averaged() -> None:
    teachers = [model("ladeda9", "NPR"), model("ladeda9", "raw")]
    pictures = torch.randn(1, 3, 20, 20)
    places = every_patch(pictures.shape, 8)
    apart = [teacher_logits([teacher], pictures, 8, places) for teacher in teachers]
    both = teacher_logits(teachers, pictures, 8, places)
    assert torch.allclose(both, (apart[0] + apart[1]) / 2)


@torch.no_grad()
def test_the_student_sees_ten_pixels() -> None:
    student = model("tiny_ladeda", "x_grad")
    pictures = torch.randn(1, 3, 26, 26)
    places = every_patch(pictures.shape, 8)
    logits = student_logits(student, pictures, 8, places)
    assert torch.allclose(logits[4], student(pictures[:, :, 8:18, 8:18])[0], atol=1e-5)
    assert len(cut(pictures, STUDENT_SIDE, 8, places)) == 9
