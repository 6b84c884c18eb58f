"""Every error that a person can cause or meet, as one small tree.

    PatchwatchError            exit code 1; shown without a traceback
    ├── UsageError             exit code 2: the command line is wrong
    │   └── ConfigError        a configuration file, or a key in it, is wrong
    ├── SourceError            frames cannot be read (missing, unreadable, not a video, ended early)
    │   ├── AuthError          credentials are missing or wrong
    │   ├── NotFound           the sender responds, and has no such stream; or no such device
    │   ├── SourceTimeout      nothing came in time
    │   ├── CodecError         what came cannot be decoded
    │   ├── NetworkError       the sender cannot be reached, or the connection broke
    │   └── SourceEnded        a stream that should go on has ended
    ├── RegionError            a frame that does not fit the input region or the model
    ├── ModelError             a model file that cannot be used
    │   ├── ContractError      its tensors are not those of the contract
    │   ├── ManifestError      its manifest is absent, broken or of a newer schema
    │   └── EngineError        a TensorRT engine that cannot be built, read or trusted
    │       └── StaleEngine    one that TensorRT does not take here; another may be built
    ├── GpuError               CUDA refuses, or no GPU responds
    ├── SinkError              results cannot be written or shown
    └── MissingDependency      an optional library is absent; carries the command that installs it

Each message is one sentence or two: what was expected, what was found, what to do.
"""

from __future__ import annotations

from typing import Literal

SourceFault = Literal["auth", "not_found", "timeout", "codec", "network", "ended", "other"]
"""Kinds of failures of a source, as they are written in files."""


class PatchwatchError(Exception):
    exit_code = 1
    fault: SourceFault = "other"


class UsageError(PatchwatchError):
    exit_code = 2


class ConfigError(UsageError): ...


class SourceError(PatchwatchError): ...


class AuthError(SourceError):
    fault = "auth"


class NotFound(SourceError):
    fault = "not_found"


class SourceTimeout(SourceError):
    fault = "timeout"


class CodecError(SourceError):
    fault = "codec"


class NetworkError(SourceError):
    fault = "network"


class SourceEnded(SourceError):
    fault = "ended"


class RegionError(PatchwatchError): ...


class ModelError(PatchwatchError): ...


class ContractError(ModelError): ...


class ManifestError(ModelError): ...


class EngineError(ModelError): ...


class StaleEngine(EngineError): ...


class GpuError(PatchwatchError): ...


class SinkError(PatchwatchError): ...


class MissingDependency(PatchwatchError):
    """An optional library is absent.

    Args:
        library: what could not be imported.
        purpose: what it is needed for, as it continues "… is needed to".
        command: what installs it.
    """

    def __init__(self, library: str, purpose: str, command: str) -> None:
        super().__init__(f"{library} is needed to {purpose}, and is not installed. Run: {command}")
