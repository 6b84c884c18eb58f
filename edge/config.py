"""Configuration: YAML, validated, unknown keys refused with the nearest known one.

A value may hold `${NAME}` or `${NAME:-default}`, replaced from the environment.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edge.errors import ConfigError
from edge.manifest import Precision, RegionText
from edge.types import PixelFormat
from edge.verdict import VerdictSettings
from edge.weights import DEFAULT

Model = TypeVar("Model", bound=BaseModel)

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CaptureConfig(_Part):
    """How live sources are read."""

    open_timeout_s: float = Field(
        default=10.0, gt=0, description="Give up opening a stream after it."
    )
    frame_timeout_s: float = Field(
        default=5.0, gt=0, description="Say no_signal when no frame came for so long."
    )
    read_timeout_s: float = Field(
        default=30.0, gt=0, description="A stream that sent nothing for so long has ended."
    )
    decode_threads: int = Field(
        default=1, gt=0, description="Of a stream; each beyond the first adds a frame of delay."
    )
    width: int | None = Field(default=None, gt=0, description="Asked of a camera, with height.")
    height: int | None = Field(default=None, gt=0, description="Asked of a camera, with width.")
    fps: float | None = Field(default=None, gt=0, description="Asked of a camera.")
    pixel_format: PixelFormat = Field(
        default="bgr",
        description="Of a csi:// camera: nv12 leaves the conversion to whoever needs it.",
    )


class BackendConfig(_Part):
    """What runs the model file."""

    name: Literal["onnxruntime", "tensorrt"] = Field(
        default="onnxruntime", description="The runtime; tensorrt builds an engine at first."
    )
    device: Literal["cpu", "cuda", "tensorrt"] = Field(
        default="cpu", description="What ONNX Runtime runs on."
    )
    precision: Precision | None = Field(
        default=None, description="null for fp16 with TensorRT and fp32 elsewhere."
    )
    cuda_library: Literal["pycuda", "cuda-python"] | None = Field(
        default=None, description="What reaches the GPU; null for pycuda where it is installed."
    )
    zero_copy: bool | None = Field(
        default=None,
        description="Let the GPU read frames from the CPU's memory; null to measure it.",
    )
    threads: int | None = Field(
        default=None, gt=0, description="Threads per operator; null for all cores."
    )


class VerdictConfig(_Part):
    """How much evidence a verdict needs."""

    window_s: float = Field(
        default=2.0, gt=0, description="Logits are averaged over so many seconds."
    )
    min_evidence_s: float = Field(
        default=0.5, ge=0, description="Evidence must span so long before a state is said."
    )
    min_frames: int = Field(default=3, gt=0, description="Least number of scored frames, likewise.")
    margin: float = Field(
        default=0.05,
        ge=0,
        lt=0.5,
        description="Hysteresis: how far past its line a state begins.",
    )

    def settings(self) -> VerdictSettings:
        """The same, as the verdict takes it."""
        return VerdictSettings(**self.model_dump())


class OutputConfig(_Part):
    """Where results go."""

    window: bool = Field(default=True, description="Open a window where there is a display.")
    save: Path | None = Field(default=None, description="Annotated video, H.264 (.mp4).")
    json_lines: Path | None = Field(
        default=None, description="One JSON object per frame; - for stdout."
    )
    images: Path | None = Field(default=None, description="Folder for annotated pictures.")
    snapshots: Path = Field(default=Path("."), description="Folder for the window's snapshots.")
    heat_map: bool = Field(default=True, description="Draw the heat map.")


class RunConfig(_Part):
    """Everything that `patchwatch run` can be told."""

    source: str | None = Field(default=None, description="Camera, stream, file, folder or glob.")
    model: str = Field(default=DEFAULT, description="A shipped model's name, or a model file.")
    region: RegionText | None = Field(
        default=None, description="native, center:N, resize:N, tiles:N; null for the model's own."
    )
    max_frames: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Stop after so many frames; null for all."
    )
    capture: CaptureConfig = CaptureConfig()
    backend: BackendConfig = BackendConfig()
    verdict: VerdictConfig = VerdictConfig()
    output: OutputConfig = OutputConfig()

    @field_validator("source", mode="before")
    @classmethod
    def _camera_index_is_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


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


def read_yaml(path: Path, environment: Mapping[str, str] | None = None) -> object:
    """Read a configuration file, with variables replaced, and check nothing yet.

    Args:
        path: a YAML file.
        environment: for `${NAME}`; the process's if None.

    Raises:
        ConfigError: unreadable, not YAML, a key that stands twice, or an unset variable.
    """
    found = os.environ if environment is None else environment
    return _expand(_parse_yaml(path), found, str(path))


def build_config(data: object, where: str) -> RunConfig:
    """Check a configuration that was read already.

    Args:
        data: nested mappings.
        where: what to name in messages, for instance the file.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    return checked(RunConfig, data, where)


def checked(model: type[Model], data: object, where: str) -> Model:
    """Check keys and values that were read already against any model of a configuration.

    Args:
        model: what they should be.
        data: nested mappings.
        where: what to name in messages, for instance the file.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected keys and values, found {type(data).__name__}.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error, model)}") from error


def override(config: RunConfig, flags: Mapping[str, object]) -> RunConfig:
    """Lay command-line flags over a configuration.

    Args:
        config: from a file, or the defaults.
        flags: dotted key → value; a value of None was not given and changes nothing.

    Raises:
        ConfigError: a wrong value.
    """
    data = config.model_dump()
    for key, value in flags.items():
        if value is not None:
            *parents, last = key.split(".")
            part = data
            for parent in parents:
                part = part[parent]
            part[last] = value
    return build_config(data, "command line")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} stands twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parse_yaml(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error}).") from error
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


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "value_error":  # one of our own sentences, which says what was found
        return f"{key}: {first['ctx']['error']}" if key else f"{first['ctx']['error']}"
    if first["type"] == "missing":
        return f"the key {key!r} is missing."
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}, found {first['input']!r}."
    known = _keys_at(model, path[:-1])
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
    return f"unknown key {key!r}. {hint}"


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part in model.model_fields:  # else an index, in a list of what the last part named
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(inner) for inner in get_args(annotation))
    return next((model for model in found if model is not None), None)
