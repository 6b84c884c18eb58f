"""Configuration: YAML, validated, unknown keys refused with the nearest known one.

A value may hold `${NAME}` or `${NAME:-default}`, replaced from the environment.
"""

from edge.config.files import checked, read_yaml
from edge.config.parts import (
    AlertConfig,
    BackendConfig,
    BatchConfig,
    CameraConfig,
    CaptureConfig,
    OutputConfig,
    RetryConfig,
    VerdictConfig,
)
from edge.config.run import (
    PLACE,
    RunConfig,
    build_config,
    json_schema,
    load_config,
    override,
    replace_sources,
)

__all__ = [
    "PLACE",
    "AlertConfig",
    "BackendConfig",
    "BatchConfig",
    "CameraConfig",
    "CaptureConfig",
    "OutputConfig",
    "RetryConfig",
    "RunConfig",
    "VerdictConfig",
    "build_config",
    "checked",
    "json_schema",
    "load_config",
    "override",
    "read_yaml",
    "replace_sources",
]
