"""What every file and configuration of ours is checked by."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails


class Strict(BaseModel):
    """A pydantic model that refuses unknown keys, NaN and infinity, and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag that sets a key on the command line; stands beside the key's type.

    Attributes:
        name: with its dashes. A flag of a yes-or-no key takes no value and reverses the default.
        metavar: stands for the value in the help text; choices need none.
        help: where the description of the key does not fit the flag.
    """

    name: str
    metavar: str | None = None
    help: str | None = None


_WORDS = {
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a number that is not infinite",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "path_type": "expected the name of a file or folder",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected keys and values",
    "model_type": "expected keys and values",
    "model_attributes_type": "expected keys and values",
    "string_too_short": "expected text that is not empty",
    "too_short": "expected a longer list",
    "too_long": "expected a shorter list",
}
"""What was expected, by the kind of a validator's error."""

_BOUNDS = {
    "greater_than": ("gt", "a number above"),
    "greater_than_equal": ("ge", "a number of at least"),
    "less_than": ("lt", "a number below"),
    "less_than_equal": ("le", "a number of at most"),
    "string_too_long": ("max_length", "text no longer than"),
    "literal_error": ("expected", "one of"),
}


def expectation(error: ErrorDetails) -> str:
    """What a validator expected, in words."""
    if (bound := _BOUNDS.get(error["type"])) is not None:
        key, words = bound
        limit = error.get("ctx", {}).get(key)
        if words == "one of" and " or " not in str(limit):
            return f"expected {limit}"
        return f"expected {words} {limit}"
    message = error["msg"]
    return _WORDS.get(error["type"], message[:1].lower() + message[1:])


def explain(
    error: ValidationError,
    model: type[BaseModel],
    names: Mapping[str, str] | None = None,
    prefix: str = "",
) -> str:
    """What is wrong with keys and values, in a sentence.

    Args:
        error: of the model's validation.
        model: what they should be.
        names: dotted key → what to call it instead.
        prefix: of all keys.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    dotted = ".".join(filter(None, (prefix, *path)))
    key = (names or {}).get(dotted, dotted)
    if first["type"] == "value_error":  # one of our own sentences, which says what was found
        return f"{key}: {first['ctx']['error']}" if key else f"{first['ctx']['error']}"
    if first["type"] == "missing":
        return f"the key {key!r} is missing."
    known = _fields_at(model, path[:-1])
    if first["type"] != "extra_forbidden":
        field = known.get(path[-1]) if path else None
        hidden = field is not None and "Secret" in str(field.annotation)
        return f"{key}: {expectation(first)}" + ("." if hidden else f", found {first['input']!r}.")
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
    return f"unknown key {key!r}. {hint}"


def _fields_at(model: type[BaseModel], path: list[str]) -> dict[str, FieldInfo]:
    for part in path:
        if part in model.model_fields:  # else an index, in a list of what the last part named
            model = model_in(model.model_fields[part].annotation) or model
    return model.model_fields


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a type is, or holds; None where there is none."""
    # Python 3.10 calls list[str] a type.
    if get_args(annotation) == () and isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    found = (model_in(inner) for inner in get_args(annotation))
    return next((model for model in found if model is not None), None)


def fault(error: ValidationError, whole: str) -> str:
    """Where a file is wrong, and how, without a full stop; `whole` is what to call all of it."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"])) or whole
    if first["type"] == "value_error":  # one of our own sentences
        return f"{field}: {str(first['ctx']['error']).rstrip('.')}"
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "extra_forbidden":
        return f"{field} is not known here"
    if first["type"] == "json_invalid":
        return f"{field} is not JSON ({first['ctx']['error']})"
    return f"{field}: {expectation(first)}, found {first['input']!r:.60}"


def code_commit() -> str | None:
    """Commit of this code, with `-dirty` where it was edited; None outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
