"""Everything that `patchwatch run` can be told: a file, and flags laid over it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from edge.config.files import checked, read_yaml
from edge.config.parts import (
    AlertConfig,
    BackendConfig,
    BatchConfig,
    CameraConfig,
    CaptureConfig,
    FacesConfig,
    OutputConfig,
    Part,
    VerdictConfig,
    index_is_text,
)
from edge.manifest import RegionText
from edge.regions import SYNTAX
from edge.sinks.paths import file_stem
from edge.weights import DEFAULT

PLACE = "{camera}"
"""In the name of a file: becomes the name of the camera."""

_COMMON = ("region", "capture", "verdict", "output", "alerts")
"""What is said for all cameras, and by each for itself."""


class RunConfig(Part):
    """Everything that `patchwatch run` can be told."""

    source: str | None = Field(default=None, description="Camera, stream, file, folder or glob.")
    cameras: tuple[CameraConfig, ...] = Field(
        default=(),
        description="Several at once, in place of source; each may differ from the rest.",
    )
    model: str = Field(default=DEFAULT, description="A shipped model's name, or a model file.")
    region: RegionText | None = Field(
        default=None, description=f"{SYNTAX}; null for the model's own."
    )
    max_frames: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Stop after so many frames; null for all."
    )
    capture: CaptureConfig = CaptureConfig()
    backend: BackendConfig = BackendConfig()
    faces: FacesConfig = FacesConfig()
    verdict: VerdictConfig = VerdictConfig()
    output: OutputConfig = OutputConfig()
    alerts: AlertConfig = AlertConfig()
    batch: BatchConfig = BatchConfig()

    _text = field_validator("source", mode="before")(index_is_text)

    @model_validator(mode="after")
    def _cameras_are_apart(self) -> Self:
        if self.cameras and self.source is not None:
            raise ValueError("source and cameras were both given. Expected one of them.")
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

    def each_camera(self) -> tuple[CameraConfig, ...]:
        """The cameras with all that they leave out filled in from what is said for all."""
        common = self.model_dump(exclude_unset=True, include=set(_COMMON))
        return tuple(
            CameraConfig.model_validate(_merged(common, camera.model_dump(exclude_unset=True)))
            for camera in self.cameras
        )


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of both; where both have one, those of its parts, and else the own value."""
    merged = dict(common)
    for key, value in own.items():
        shared = merged.get(key)
        if isinstance(value, dict) and isinstance(shared, dict):
            value = _merged(shared, value)
        merged[key] = value
    return merged


def _files(camera: CameraConfig) -> list[str]:
    """The files and folders that a camera alone may write, under its name."""
    output = camera.output
    paths = (output.save, output.images)
    return [str(path).replace(PLACE, file_stem(camera.name)) for path in paths if path is not None]


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


def build_config(data: object, where: str) -> RunConfig:
    """Check a configuration that was read already.

    Args:
        data: nested mappings.
        where: what to name in messages, for instance the file.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    return checked(RunConfig, data, where)


def replace_sources(config: RunConfig, sources: Sequence[str]) -> RunConfig:
    """Watch other sources than a configuration says.

    Args:
        config: from a file, or the defaults.
        sources: what to watch; several become cameras, called cam1, cam2 and so on. None of them
            changes nothing.

    Raises:
        ConfigError: several cannot be watched as it says.
    """
    if not sources:
        return config
    data = config.model_dump(exclude_unset=True, exclude={"source", "cameras"})
    if len(sources) == 1:
        return build_config({**data, "source": sources[0]}, "command line")
    cameras = [{"name": f"cam{n}", "source": source} for n, source in enumerate(sources, start=1)]
    return build_config({**data, "cameras": cameras}, "command line")


def override(config: RunConfig, flags: Mapping[str, object]) -> RunConfig:
    """Lay command-line flags over a configuration.

    Args:
        config: from a file, or the defaults.
        flags: dotted key → value; a value of None was not given and changes nothing.

    Raises:
        ConfigError: a wrong value.
    """
    data = config.model_dump(exclude_unset=True)
    for key, value in flags.items():
        if value is not None:
            *parents, last = key.split(".")
            part = data
            for parent in parents:
                part = part.setdefault(parent, {})
            part[last] = value
    return build_config(data, "command line")
