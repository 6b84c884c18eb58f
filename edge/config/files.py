"""Configuration files: YAML, variables from the environment, and errors in one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from edge.errors import ConfigError
from edge.schema import explain

Model = TypeVar("Model", bound=BaseModel)

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")


def read_yaml(path: Path, environment: Mapping[str, str] | None = None) -> object:
    """Read a configuration file, with variables replaced, and check nothing yet.

    Args:
        path: a YAML file.
        environment: for `${NAME}`; the process's if None.

    Raises:
        ConfigError: unreadable, not YAML, a key that appears twice, or an unset variable.
    """
    found = os.environ if environment is None else environment
    return _expand(_parse_yaml(path), found, str(path))


def checked(
    model: type[Model], data: object, where: str, names: Mapping[str, str] | None = None
) -> Model:
    """Check keys and values that were read already against any model of a configuration.

    Args:
        model: what they should be.
        data: nested mappings.
        where: what to name in messages, for instance the file.
        names: dotted key → what to call it in messages instead.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected keys and values, found {type(data).__name__}.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, model, names or {})}") from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that appears twice, where YAML would let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} appears twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parse_yaml(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file.") from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). Expected a YAML file: name that."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: is no text in UTF-8. Expected a YAML file: name that, or save it as UTF-8."
        ) from error
    try:
        data: object = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {reason}.") from error
    return {} if data is None else data


def _expand(value: object, environment: Mapping[str, str], where: str) -> object:
    if isinstance(value, dict):
        return {key: _expand(item, environment, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environment, where) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        found = environment.get(name) or default
        if found is None:
            raise ConfigError(
                f"{where}: the environment variable {name} is not set. Set it, or write "
                f"${{{name}:-default}}."
            )
        return found

    return _VARIABLE.sub(replace, value)
