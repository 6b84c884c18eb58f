"""Loggers, and which one gets a message."""

from __future__ import annotations

import weakref
from typing import Any

from tests.fake_tensorrt.base import MODULE, MustInit, Strict
from tests.fake_tensorrt.enums import make_enum
from tests.fake_tensorrt.releases import SEVERITIES

Severity = make_enum("Severity", SEVERITIES)


class ILogger(Strict, metaclass=MustInit):
    """To be derived from; `log` is called from any thread."""

    __module__ = MODULE
    Severity = Severity
    INTERNAL_ERROR: Any = Severity(0)
    ERROR: Any = Severity(1)
    WARNING: Any = Severity(2)
    INFO: Any = Severity(3)
    VERBOSE: Any = Severity(4)

    def __init__(self) -> None:
        self._initialised = True

    def log(self, severity: Any, msg: str) -> None:
        """Take a message; the base takes none."""


class Log:
    """The one logger of a process: the first that is given, for as long as its users live."""

    def __init__(self, major: int) -> None:
        self._major = major
        self._logger: Any = None
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()

    def register(self, user: Any, logger: Any, function: str) -> None:
        """Take a logger with a builder or runtime, unless there is one already."""
        if not self._users:
            self._logger = logger
        elif logger is not self._logger:
            self.say(
                "INFO",
                f"The logger passed into {function} differs from one already provided for an "
                "existing builder, runtime, or refitter. Uses of the global logger, returned by "
                "nvinfer1::getLogger(), will return the existing value.",
            )
        self._users.add(user)

    def tell(self, logger: Any, severity: str, msg: str) -> None:
        """Give a message to a logger that is not the global one."""
        logger.log(getattr(Severity, severity), msg)

    def say(self, severity: str, msg: str) -> None:
        """Give a message to the global logger."""
        if self._logger is not None:
            self.tell(self._logger, severity, msg)

    def error(self, code: int, kind: str, reason: str, new: str, old: str) -> None:
        """Report an error as the release words it."""
        head = f"{new}: " if self._major >= 10 else f"{code}: [{old}] "
        self.say("ERROR", f"{head}Error Code {code}: {kind} ({reason})")
