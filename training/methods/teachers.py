"""The teachers of a distillation: read, checked against what is asked of them, never trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.errors import ModelError, UsageError
from edge.files import sha256_of
from training.checkpoint import SUFFIX, load_checkpoint, load_published
from training.config import DistillConfig, TeachingConfig
from training.methods.distill_patches import STUDENT_SIDE, TEACHER_SIDE
from training.models import PatchModel


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that is learned from.

    Attributes:
        model: in evaluation mode, without gradients.
        name: of its card, or of its file.
        path: its file.
        sha256: of the file.
    """

    model: PatchModel
    name: str
    path: Path
    sha256: str

    def describe(self) -> str:
        """For the card of the student."""
        model = self.model
        made = f"{model.architecture} with {model.preprocessing}"
        return f"{self.name} ({made}, sha256 {self.sha256})"


def load_teachers(config: TeachingConfig) -> tuple[Teacher, ...]:
    """Read all teachers.

    Raises:
        UsageError: none is named, or a file is not the one expected.
        ModelError: a file cannot be used.
    """
    if not config.teachers:
        raise UsageError(
            "no teacher is named. Give --teacher FILE, or teaching.teachers in the file."
        )
    teachers = tuple(_load(path, config) for path in config.teachers)
    found = tuple(teacher.sha256 for teacher in teachers)
    if config.sha256 and config.sha256 != found:
        raise UsageError(
            f"teaching.sha256: expected {', '.join(config.sha256)}, found {', '.join(found)} in "
            f"{', '.join(map(str, config.teachers))}. Name the right files, or correct the key."
        )
    return teachers


def require_teachable(config: DistillConfig, student: PatchModel, teacher: Teacher) -> None:
    """Check that a teacher can teach a student in the configured way.

    Raises:
        UsageError: not this teacher, not this student, or not with crops of this size.
    """
    crop = config.data.crop
    _require_crop(f"teacher {teacher.path}", teacher.model.grid.smallest_input(), crop)
    _require_crop(f"student {student.architecture}", student.grid.smallest_input(), crop)
    if config.teaching.way != "patches":
        return
    side = teacher.model.grid.receptive_field
    if side != TEACHER_SIDE:
        raise UsageError(
            f"way patches: expected a teacher that sees {TEACHER_SIDE}×{TEACHER_SIDE} pixels, "
            f"found {side}×{side} in {teacher.path}. Use teaching.way=dense, which takes any."
        )
    if max(student.grid.smallest_input(), student.grid.receptive_field) > STUDENT_SIDE:
        side = student.grid.receptive_field
        raise UsageError(
            f"way patches: expected a student that sees at most {STUDENT_SIDE}×{STUDENT_SIDE} "
            f"pixels, found {side}×{side} in {student.architecture} with "
            f"{student.preprocessing}. Use teaching.way=dense."
        )
    _require_crop("way patches", STUDENT_SIDE, crop)


def _require_crop(who: str, least: int, crop: int) -> None:
    if crop < least:
        raise UsageError(
            f"{who} needs crops of at least {least}×{least} pixels, found "
            f"data.crop {crop}. Raise data.crop."
        )


def _load(path: Path, config: TeachingConfig) -> Teacher:
    if path.suffix == SUFFIX:
        model, card = load_checkpoint(path)
        name = card.name
    else:
        model = load_published(path, config.architecture, config.preprocessing)
        name = path.stem
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    return Teacher(model.eval().requires_grad_(False), name, path, digest)
