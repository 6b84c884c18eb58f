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
    │   ├── UnknownModel       exit code 2: neither a shipped model's name nor a file
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

import importlib
import re
from typing import Any, Literal

SourceFault = Literal["auth", "not_found", "timeout", "codec", "network", "ended", "other"]
"""Kinds of failures of a source, as they are written in files."""


def printable(text: str) -> str:
    """The text with characters that a terminal obeys written as escapes, and in one line.

    Names of files may hold them: newlines, colours, commands that clear the screen.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


HIDDEN = "***"

_LOGIN = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{,20}:/{1,3})"
    r"    (?: \S* | [^\s/@:]* : [^/@]{1,80} | [^\s/@:]+ [ ] [^\s/@]+ ) @"
    r"| (?P<host>\b[a-z][a-z0-9+.-]{,20}:/{1,3}[^\s/@:'\"]+:)(?=[a-z])[^\s'\"]*[^\s'\":.,;)]"
    r"| (?<![^\s'\"(\[]) [^\s'\"(\[:]* : \S* @",
    re.IGNORECASE | re.VERBOSE,
)


def without_logins(text: str) -> str:
    """A message that is fit to be shown: what may be a login in an address is hidden.

    So is what stands before the last `@` of an address, and of a word with a colon before it, or
    where a port should be, for addresses may be mistyped. In doubt it hides too much.
    """

    def shown(match: re.Match[str]) -> str:
        if "user:password" in match[0]:  # our own advice
            return match[0]
        return f"{match['host']}{HIDDEN}" if match["host"] else f"{match['scheme'] or ''}{HIDDEN}@"

    return _LOGIN.sub(shown, text)


class PatchwatchError(Exception):
    exit_code = 1
    fault: SourceFault = "other"

    def __init__(self, text: str = "") -> None:
        super().__init__(without_logins(text))


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


class UnknownModel(ModelError):
    exit_code = 2


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


def require(module: str, purpose: str, command: str) -> Any:
    """Import a module of an optional library; a MissingDependency of the same words without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(module.partition(".")[0], purpose, command) from error


def require_opencv() -> None:
    """Check that OpenCV can be imported.

    Raises:
        MissingDependency: it cannot; says which extra brings it.
    """
    try:
        import cv2  # noqa: F401  # only whether it can be imported matters
    except ImportError as error:
        command = (
            "pip install 'patchwatch[desktop]' with a desktop, 'patchwatch[headless]' without; "
            "on a Jetson, apt install python3-opencv"
        )
        if "multiarray" in str(error):  # it was built for NumPy 1, and there is NumPy 2
            command = "pip install 'numpy>=1.24,<2'"
        raise MissingDependency(f"OpenCV ({error})", "read and draw pictures", command) from error
