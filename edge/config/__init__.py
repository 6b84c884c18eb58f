"""Configuration: YAML, validated, unknown keys refused with the nearest known one.

A value may hold `${NAME}` or `${NAME:-default}`, replaced from the environment. A key that has a
flag declares it beside its type; `add_flags` derives the command line from that.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, model_validator
from pydantic.fields import FieldInfo
from typing_extensions import Self

from edge.config.files import checked as checked
from edge.config.files import read_yaml as read_yaml
from edge.config.parts import (
    BackendConfig,
    BatchConfig,
    CameraConfig,
    FaceConfig,
    ModelsConfig,
    ProvenanceConfig,
    SourceConfig,
    SourceText,
    WebConfig,
)
from edge.schema import Flag, model_in
from edge.sinks import wanted
from edge.sinks.paths import PLACE, file_stem
from edge.sources import source_name
from edge.weights import DEFAULT


class RunConfig(SourceConfig):
    """The configuration of `patchwatch run`."""

    source: SourceText | None = Field(
        default=None, description="Camera, stream, file, folder or glob."
    )
    pictures: tuple[SourceText, ...] = Field(
        default=(), description="Files of pictures, one after the other, in place of source."
    )
    cameras: tuple[CameraConfig, ...] = Field(
        default=(),
        description="Several at once, in place of source; each may differ from the rest.",
    )
    model: Annotated[str, Flag("--model", "M")] = Field(
        default=DEFAULT,
        description=f"A shipped model's name, or a model file (default: {DEFAULT}).",
    )
    max_frames: Annotated[int | None, Flag("--frames", "N")] = Field(
        default=None, gt=0, description="Stop after N frames (default: all)."
    )
    backend: BackendConfig = BackendConfig()
    faces: FaceConfig = FaceConfig()
    batch: BatchConfig = BatchConfig()
    provenance: ProvenanceConfig = ProvenanceConfig()
    web: WebConfig = WebConfig()
    models: ModelsConfig = ModelsConfig()

    @model_validator(mode="after")
    def _cameras_differ(self) -> Self:
        given = {"source": self.source, "cameras": self.cameras, "pictures": self.pictures}
        if len(named := [name for name, value in given.items() if value]) > 1:
            raise ValueError(f"both {named[0]} and {named[1]} are set. Expected one of them.")
        names = Counter(file_stem(camera.name) for camera in self.cameras)
        for name, count in names.items():
            if count > 1:
                raise ValueError(
                    f"{count} cameras are called {name!r}, at least in names of files. Give each "
                    "a name of its own."
                )
        files = Counter(path for camera in self.each_camera() for path in _files(camera))
        for path, count in files.items():
            if count > 1:
                raise ValueError(
                    f"{count} cameras would write {path}. Put {PLACE} into its name, which becomes "
                    "the camera's."
                )
        return self

    def named_sources(self) -> list[tuple[CameraConfig | RunConfig, str]]:
        """Each source with its settings, and what it is called."""
        if self.pictures:
            return [(self, f"{len(self.pictures)} pictures")]
        if self.source is not None:
            return [(self, source_name(self.source))]
        return [(camera, camera.name) for camera in self.each_camera()]

    def each_camera(self) -> tuple[CameraConfig, ...]:
        """The cameras, each completed by what is set for all."""
        common = self.model_dump(exclude_unset=True, include=set(SourceConfig.model_fields))
        return tuple(
            CameraConfig.model_validate(_merged(common, camera.model_dump(exclude_unset=True)))
            for camera in self.cameras
        )


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of both, sections merged; where both have a value, the camera's own."""
    merged = dict(common)
    for key, value in own.items():
        shared = merged.get(key)
        if isinstance(value, dict) and isinstance(shared, dict):
            value = _merged(shared, value)
        merged[key] = value
    return merged


def _files(camera: CameraConfig) -> list[str]:
    """The places that a camera alone may write to, under its name."""
    kinds = [kind for kind in wanted(camera) if kind.sharing == "never"]
    return [str(kind.place(camera, camera.name)) for kind in kinds]


def json_schema() -> str:
    """The JSON Schema of a configuration file."""
    return json.dumps(RunConfig.model_json_schema(), indent=2)


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> RunConfig:
    """Read and check a configuration file.

    Args:
        path: a YAML file.
        environment: for `${NAME}`; the process's if None.

    Raises:
        ConfigError: unreadable, not YAML, an unknown key, a wrong value or an unset variable.
    """
    return build_config(read_yaml(path, environment), str(path))


def build_config(data: object, where: str = "command line") -> RunConfig:
    """Check a configuration that was read already.

    Args:
        data: nested mappings.
        where: what to name in messages, for instance the file.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    return checked(RunConfig, data, where)


def replace_sources(config: RunConfig, sources: Sequence[str]) -> RunConfig:
    """The same configuration for other sources.

    Args:
        config: from a file, or the defaults.
        sources: several become cameras, called as `edge.sources.several` says, unless all are
            files of pictures. Empty changes nothing.

    Raises:
        ConfigError: the configuration does not fit several sources.
    """
    if not sources:
        return config
    from edge.sources.several import all_pictures, names_of

    data = config.model_dump(exclude_unset=True, exclude={"source", "cameras", "pictures"})
    if len(sources) == 1:
        return build_config({**data, "source": sources[0]})
    if all_pictures(sources):
        return build_config({**data, "pictures": list(sources)})
    named = zip(names_of(sources), sources, strict=True)
    cameras = [{"name": name, "source": source} for name, source in named]
    return build_config({**data, "cameras": cameras})


def override(config: RunConfig, values: Mapping[str, object]) -> RunConfig:
    """The same configuration with some values replaced.

    Args:
        config: from a file, or the defaults.
        values: dotted key → value.

    Raises:
        ConfigError: a wrong value; names the key's flag.
    """
    data = config.model_dump(exclude_unset=True)
    for key, value in values.items():
        *parents, last = key.split(".")
        section = data
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    flags = {key: flag.name for key, flag, _ in _flags(RunConfig) if key in values}
    return checked(RunConfig, data, "command line", flags)


def add_flags(parser: argparse.ArgumentParser, *sections: str) -> None:
    """Declare the flags that set keys; a value is checked when it is merged by `override`.

    Args:
        parser: of a command.
        sections: keys, or sections at the top of the configuration; all of them if empty.
    """
    for key, flag, field in _flags(RunConfig):
        if sections and not {key, key.split(".")[0]} & set(sections):
            continue
        text = flag.help or _as_help(field.description or "")
        options: dict[str, Any] = {"dest": key, "default": argparse.SUPPRESS, "help": text}
        if field.annotation is bool:
            options |= {"action": "store_const", "const": not field.default}
        else:
            options |= {"metavar": flag.metavar, "choices": _choices(field)}
        parser.add_argument(flag.name, **options)


def flags_in(args: argparse.Namespace) -> dict[str, object]:
    """The flags that were given, dotted key → value, as `override` takes them."""
    given = vars(args)
    return {key: given[key] for key, _, _ in _flags(RunConfig) if key in given}


def _flags(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Flag, FieldInfo]]:
    for name, field in model.model_fields.items():
        section = model_in(field.annotation)
        if section is not None and name != "cameras":
            yield from _flags(section, f"{prefix}{name}.")
        for flag in field.metadata:
            if isinstance(flag, Flag):
                yield prefix + name, flag, field


def _choices(field: FieldInfo) -> list[str] | None:
    kind: Any = field.annotation
    schema = TypeAdapter(kind).json_schema()
    return next((s["enum"] for s in (schema, *schema.get("anyOf", ())) if "enum" in s), None)


def _as_help(description: str) -> str:
    """A description in the style of a help text: no capital, no full stop; % is special there."""
    first, rest = description[:1], description[1:]
    text = description if rest[:1].isupper() else first.lower() + rest
    return text.rstrip(".").replace("%", "%%")
