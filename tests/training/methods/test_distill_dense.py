from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from training.config import TeachingConfig
from training.methods.distill import STUDENT_SIDE, aligned, dense_loss, difference, patch_loss
from training.models import PatchModel, build


def config(**changes: Any) -> TeachingConfig:
    return TeachingConfig.model_validate(changes)


def pictures(count: int, side: int = 40) -> Tensor:
    """Half smooth, half with noise of its own strength."""
    coarse = torch.randn(count, 3, side // 8, side // 8)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return smooth + torch.rand(count, 1, 1, 1) * torch.randn(count, 3, side, side)


class FlatTeacher(PatchModel):
    """Says of each patch of 9×9 how rough it is: something that a student can learn."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__("flat", "raw", receptive_field=9, stride=8, channels=1)
        self.offset = offset
        self.fc.weight.data.fill_(1.0)
        self.fc.bias.data.fill_(offset)

    def features(self, x: Tensor) -> Tensor:
        steps = (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().mean(1, keepdim=True)
        return torch.nn.functional.avg_pool2d(steps[:, :, :, :], (9, 8), 8) * 4 - 2


def teacher(offset: float = 0.0) -> PatchModel:
    return FlatTeacher(offset).eval().requires_grad_(False)


def loss_of(student: PatchModel, x: Tensor, how: TeachingConfig) -> Tensor:
    if how.way == "patches":
        return patch_loss(student, [teacher()], x, x, how)
    return dense_loss(student, [teacher()], x, x, torch.zeros(len(x)), how)


WAYS = [
    {"way": "patches", "patches": 64},
    {"way": "patches", "patches": None, "loss": "bce", "temperature": 2.0},
    {"way": "dense"},
    {"way": "dense", "loss": "bce", "temperature": 0.5},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda w: "-".join(map(str, w.values())))
def test_each_way_lowers_its_loss_and_the_student_comes_to_agree(way: dict[str, Any]) -> None:
    torch.manual_seed(0)
    how, student = config(**way), build("tiny_ladeda", "x_grad")
    held_out = pictures(16)
    before, _ = on_held_out(student, held_out, how)
    adam = torch.optim.Adam(student.parameters(), 0.02)
    for _ in range(120):
        loss = loss_of(student.train(), pictures(8), how)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        adam.step()
    after, correlation = on_held_out(student, held_out, how)
    assert after < before / 2 and correlation > 0.8


@torch.no_grad()
def on_held_out(student: PatchModel, x: Tensor, how: TeachingConfig) -> tuple[float, float]:
    """Loss above its least possible value, and correlation, on the aligned maps."""
    t, s = aligned(
        teacher().patch_logits(x), teacher().grid, student.eval().patch_logits(x), student.grid
    )
    excess = difference(s, t, how) - difference(t, t, how)
    return float(excess), float(torch.corrcoef(torch.stack([t.flatten(), s.flatten()]))[0, 1])


def test_weight_mixes_the_teacher_with_the_labels() -> None:
    torch.manual_seed(0)
    student, x = build("tiny_ladeda", "x_grad").eval(), pictures(4)
    labels = torch.tensor([0.0, 1.0, 0.0, 1.0])
    of = {w: dense_loss(student, [teacher()], x, x, labels, config(weight=w)) for w in (0, 0.25, 1)}
    assert torch.allclose(of[0.25], 0.25 * of[1] + 0.75 * of[0])
    logits = student(x)
    assert torch.allclose(
        of[0], torch.nn.functional.binary_cross_entropy_with_logits(logits, labels), atol=1e-5
    )


@pytest.mark.parametrize("form", ["mse", "bce"])
def test_several_teachers_pull_to_their_mean(form: str) -> None:
    torch.manual_seed(0)
    student, x, labels = build("tiny_ladeda", "x_grad").eval(), pictures(2), torch.zeros(2)
    how = config(loss=form)
    dense_loss(student, [teacher(0.0), teacher(2.0)], x, x, labels, how).backward()  # type: ignore[no-untyped-call]
    both = student.fc.weight.grad
    assert both is not None
    targets = [t.patch_logits(x) for t in (teacher(0.0), teacher(2.0))]
    if form == "mse":
        mean = (targets[0] + targets[1]) / 2
    else:
        mean = torch.logit((torch.sigmoid(targets[0]) + torch.sigmoid(targets[1])) / 2)
    theirs, ours = aligned(mean, teacher().grid, student.patch_logits(x), student.grid)
    student.zero_grad()
    difference(ours, theirs, how).backward()  # type: ignore[no-untyped-call]
    assert student.fc.weight.grad is not None
    assert torch.allclose(both, student.fc.weight.grad, atol=1e-5)


def test_the_temperature_keeps_the_size_of_the_gradient() -> None:
    logit = torch.tensor([0.3], requires_grad=True)
    sizes = []
    for t in (8.0, 16.0):
        (gradient,) = torch.autograd.grad(
            difference(logit, torch.tensor([0.8]), config(loss="bce", temperature=t)), logit
        )
        sizes.append(float(gradient))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_patches_are_drawn_each_time_and_repeatably() -> None:
    student, x = build("tiny_ladeda", "x_grad").eval(), pictures(4)
    how = config(way="patches", patches=5)
    torch.manual_seed(1)
    first, second = loss_of(student, x, how), loss_of(student, x, how)
    torch.manual_seed(1)
    assert torch.equal(first, loss_of(student, x, how)) and not torch.equal(first, second)


def test_the_teacher_may_see_a_clean_crop() -> None:
    student, clean = build("tiny_ladeda", "x_grad").eval(), pictures(2)
    shown = clean + 1
    labels = torch.zeros(2)
    apart = dense_loss(student, [teacher()], shown, clean, labels, config())
    t, s = aligned(teacher().patch_logits(clean), teacher().grid,
                   student.patch_logits(shown), student.grid)  # fmt: skip
    assert torch.allclose(apart, (t - s).square().mean())


@torch.no_grad()
@pytest.mark.parametrize("preprocessings", [["NPR"], ["NPR", "raw"]])
def test_a_patch_of_ten_pixels_learns_what_the_teachers_say_of_nine(
    preprocessings: list[str],
) -> None:
    torch.manual_seed(0)
    teachers = [build("ladeda9", name).eval() for name in preprocessings]
    for name, buffer in (pair for teacher in teachers for pair in teacher.named_buffers()):
        if "running" in name:  # as after a training, not the identity
            buffer.uniform_(0.5, 1.5)
    student, x = build("tiny_ladeda", "x_grad").eval(), torch.randn(2, 3, 34, 42)
    # At its own stride of 8 that is the teacher's map, and the student's of each cut alone.
    targets = torch.stack([teacher.patch_logits(x) for teacher in teachers]).mean(0)
    ours = torch.stack(
        [
            student(x[:, :, top : top + STUDENT_SIDE, left : left + STUDENT_SIDE])
            for top in range(0, 25, 8)
            for left in range(0, 33, 8)
        ],
        dim=1,
    )
    found = patch_loss(student, teachers, x, x, config(way="patches", patches=None))
    assert torch.allclose(found, (ours - targets.flatten(1)).square().mean(), rtol=1e-3)
