"""What labelled pictures are called. The label of a picture (real 0, fake 1) comes from the name of
the folder that it lies in, and from nothing else in its path.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from edge.schema import Strict, fault

LABEL_FOLDERS = ("0_real", "1_fake")
"""Folder names at the index of their label."""

LABEL_WORDS = ("photographs", "generated pictures")
UNSORTED = "unsorted"
"""Source of what lies directly in one of `LABEL_FOLDERS`."""

FORM = "real=NAME,NAME fake=NAME,NAME"


class LabelFolders(Strict):
    """Names of folders that mean real or fake, beside `LABEL_FOLDERS`."""

    real: tuple[str, ...] = Field(default=(), description="Folders of photographs.")
    fake: tuple[str, ...] = Field(default=(), description="Folders of generated pictures.")

    @model_validator(mode="after")
    def _names_of_folders(self) -> Self:
        for name in (*self.real, *self.fake):
            if not name or name.startswith(".") or "/" in name:
                raise ValueError(f"expected names of folders, found {name!r}")
        if twice := set(self.real) & set(self.fake):
            raise ValueError(f"{min(twice)!r} is under both real and fake; leave it in one")
        return self

    def names(self, label: int) -> tuple[str, ...]:
        """The folders of a label; what is given goes before the usual names of both labels."""
        given, usual = (self.real, self.fake), LABEL_FOLDERS[label]
        kept = () if usual in given[1 - label] else (usual,)
        return tuple(dict.fromkeys((*given[label], *kept)))

    def describe(self) -> str:
        """All of them in words: "real: photos, 0_real; fake: ai, 1_fake"."""
        real, fake = (", ".join(self.names(label)) for label in (0, 1))
        return f"real: {real}; fake: {fake}"


STANDARD = LabelFolders()
"""No names but the usual ones."""


def add_label_folders(parser: Any, **changes: Any) -> None:
    """Declare --label-folders in a parser or a group of one, with changes of its declaration."""
    declared: dict[str, Any] = {
        "nargs": 2,
        "action": _ReadLabelFolders,
        "default": STANDARD,
        "metavar": ("real=A,B", "fake=C,D"),
        "help": f"names of folders, beside {' and '.join(LABEL_FOLDERS)}, that say the label",
    }
    parser.add_argument("--label-folders", **{**declared, **changes})


class _ReadLabelFolders(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        words = [str(value).partition("=") for value in values or ()]
        found = {key: [n.strip() for n in names.split(",")] for key, _, names in words}
        if set(found) != {"real", "fake"}:
            raise argparse.ArgumentError(self, f"expected {FORM}, found {' '.join(values or ())}.")
        try:
            setattr(namespace, self.dest, LabelFolders.model_validate(found))
        except ValidationError as error:
            raise argparse.ArgumentError(self, f"{fault(error, FORM)}.") from error
