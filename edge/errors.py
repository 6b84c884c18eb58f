"""Every error that a person can cause or meet, as one small tree.

    PatchwatchError            exit code 1
    ├── UsageError             exit code 2: the command line or the configuration is wrong
    │   └── ConfigError        a configuration file or key
    ├── SourceError            frames cannot be had (missing, unreadable, not a video, ended early)
    │   ├── AuthError          credentials are missing or wrong
    │   ├── NotFound           the sender answers, and has no such stream; or no such device
    │   ├── SourceTimeout      nothing came in time
    │   ├── CodecError         what came cannot be decoded
    │   ├── NetworkError       the sender cannot be reached, or the connection broke
    │   └── SourceEnded        a stream that should go on has ended
    ├── RegionError            a frame that the region or the model cannot take
    ├── ModelError             a model file that cannot be used
    │   ├── ContractError      its tensors are not those of the contract
    │   ├── ManifestError      its manifest is absent, broken or of a newer schema
    │   └── EngineError        an engine that cannot be built, read or trusted
    │       └── StaleEngine    one that TensorRT does not take here; another may be built
    ├── GpuError               CUDA refuses, or no GPU answers
    ├── SinkError              results cannot be written or shown
    ├── MissingDependency      an optional library is absent; carries the command that installs it
    └── FetchError             in training.data.get: something published cannot be had
        └── AddressError       its address does not give the file

Each message is one sentence or two: what was expected, what was found, what to do.
"""

from __future__ import annotations

from typing import Literal


class PatchwatchError(Exception):
    """Base of every error that is shown to a person without a traceback."""

    exit_code = 1


class UsageError(PatchwatchError):
    """The command line is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file, or a key in it, is wrong."""


SourceFault = Literal["auth", "not_found", "timeout", "codec", "network", "ended", "other"]


class SourceError(PatchwatchError):
    """Frames cannot be read from a source.

    Attributes:
        fault: what kind of failure it is, as it is written in files.
    """

    fault: SourceFault = "other"


class AuthError(SourceError):
    """Credentials are missing or wrong."""

    fault = "auth"


class NotFound(SourceError):
    """The sender answers, and has no such stream; or there is no such device."""

    fault = "not_found"


class SourceTimeout(SourceError):
    """Nothing came in time."""

    fault = "timeout"


class CodecError(SourceError):
    """What came cannot be decoded."""

    fault = "codec"


class NetworkError(SourceError):
    """The sender cannot be reached, or the connection broke."""

    fault = "network"


class SourceEnded(SourceError):
    """A stream that should go on has ended."""

    fault = "ended"


class RegionError(PatchwatchError):
    """A frame does not fit the input region or the model."""


class ModelError(PatchwatchError):
    """A model file cannot be used."""


class ContractError(ModelError):
    """A model file whose tensors are not those of the contract."""


class ManifestError(ModelError):
    """A manifest that is absent, broken or newer than this program."""


class EngineError(ModelError):
    """A TensorRT engine that cannot be built, read or trusted."""


class StaleEngine(EngineError):
    """An engine that TensorRT does not take on this machine; building it anew may help."""


class GpuError(PatchwatchError):
    """CUDA refuses something, or no GPU answers."""


class SinkError(PatchwatchError):
    """Results cannot be written or shown."""


class MissingDependency(PatchwatchError):
    """An optional library is absent.

    Args:
        library: what could not be imported.
        purpose: what it is needed for, as it continues "… is needed to".
        command: what installs it.
    """

    def __init__(self, library: str, purpose: str, command: str) -> None:
        super().__init__(f"{library} is needed to {purpose}, and is not installed. Run: {command}")
