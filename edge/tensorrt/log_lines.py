"""What TensorRT writes into its logger, and what it means.

TensorRT's calls return None or False; only the logger gets the reason. Its wordings differ between
versions, so they are matched by the words that stayed the same from 8.5 to 11.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Doing = Literal["build", "load", "run"]

_KEPT = 256
_LONGEST = 2_000
_SHOWN = 300
_ERRORS = ("INTERNAL_ERROR", "ERROR")
_NO_KERNEL = "Could not find any implementation for node"
_BUILD_AGAIN = "build it again on this device"


@dataclass(frozen=True, slots=True)
class Line:
    """One message of TensorRT, on one line; its severity by name, for instance "ERROR"."""

    severity: str
    text: str


class LogLines:
    """The newest messages of a TensorRT logger; any thread may add one."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def add(self, severity: str, text: str) -> None:
        """Keep a message on one line; a very long one is cut."""
        line = Line(severity, " ".join(text.split())[:_LONGEST])
        with self._lock:
            self._lines.append(line)

    def clear(self) -> None:
        """Forget everything, before the next attempt."""
        with self._lock:
            self._lines.clear()

    def __iter__(self) -> Iterator[Line]:
        with self._lock:
            return iter(tuple(self._lines))

    def tail(self, count: int = 5) -> tuple[str, ...]:
        """The texts of the last few, oldest first."""
        return tuple(line.text for line in self)[-count:] if count > 0 else ()


class Problem(Enum):
    """Why TensorRT refused."""

    OTHER_VERSION = "an engine of another TensorRT"
    OTHER_GPU = "an engine for another GPU or platform"
    DAMAGED = "an engine that is cut short or damaged"
    NOT_A_PLAN = "no engine at all"
    OUT_OF_MEMORY = "no memory left"
    NO_GPU = "no CUDA driver or no GPU"
    UNSUPPORTED_GPU = "a GPU that this TensorRT has no code for"
    UNSUPPORTED_OPERATOR = "something in the ONNX that TensorRT does not take"
    WRONG_CONTEXT = "another CUDA context or thread"
    PRECISION = "a precision that the builder was not set to"
    SHAPE = "frames that the engine was not built for"
    UNKNOWN = "something else"


@dataclass(frozen=True, slots=True)
class EngineProblem:
    """What went wrong.

    Attributes:
        kind: for code that acts on it.
        sentence: expected, found, what to do; continues "model.engine: …".
        line: TensorRT's own, or Python's where TensorRT wrote nothing; may be empty.
    """

    kind: Problem
    sentence: str
    line: str

    def __str__(self) -> str:
        return f"{self.sentence}. TensorRT: {self.line}" if self.line else f"{self.sentence}."


_Sentence = Callable[["re.Match[str]", Doing], str]


def explain(lines: Iterable[Line | str], doing: Doing, otherwise: str = "") -> EngineProblem:
    """Say why TensorRT refused.

    Of several errors the first counts, as later ones follow from it. A warning counts where there
    is no error, or only the one that no kernel was found: builders warn of memory all the time.

    Args:
        lines: what its logger collected; a plain text counts as an error.
        doing: what was tried.
        otherwise: Python's message (a TypeError, "returned nothing"), if nothing was logged.
    """
    given = [Line("ERROR", line) if isinstance(line, str) else line for line in lines]
    errors = [line.text for line in given if line.severity in _ERRORS]
    rest = [line.text for line in given if line.severity not in _ERRORS]
    warned = rest if not errors or any(_NO_KERNEL in text for text in errors) else []
    for text in (*errors, *warned, otherwise):
        for kind, pattern, sentence in _RULES:
            match = pattern.search(text)
            if match:
                reason = (
                    sentence.format(*match.groups())
                    if isinstance(sentence, str)
                    else sentence(match, doing)
                )
                return EngineProblem(kind, reason, _shown(text))
    last = errors[-1] if errors else otherwise or (rest[-1] if rest else "")
    return EngineProblem(Problem.UNKNOWN, _FAILED[doing], _shown(last))


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


_FAILED: dict[Doing, str] = {
    "build": "TensorRT could not build an engine from it",
    "load": "TensorRT could not load the engine",
    "run": "TensorRT could not run the engine",
}

_CUDA_ERRORS = {
    "35": "there is no driver, or it is older than the CUDA that TensorRT was made for",
    "46": "another process holds the GPU",
    "100": "there is none",
}
"""Of the CUDA runtime's numbers those that TensorRT was seen to give up with."""


def _no_memory(match: re.Match[str], doing: Doing) -> str:
    if doing == "build":
        return (
            "the GPU has too little free memory to build the engine; close other programs, or "
            "build for smaller frames or with a smaller workspace"
        )
    return (
        f"the GPU has too little free memory to {doing} the engine; close other programs, or use "
        "an engine for smaller frames or a smaller batch"
    )


def _no_gpu(match: re.Match[str], doing: Doing) -> str:
    why = _CUDA_ERRORS.get(match[1], f"it gives error {match[1]}")
    return f"expected a GPU that CUDA can use, found that {why}; see 'patchwatch doctor'"


def _operator(match: re.Match[str], doing: Doing) -> str:
    name = next((group for group in match.groups() if group), None)
    what = f"the operator {name}" if name else "one"
    return (
        f"expected operators that TensorRT knows, found {what} that it does not take; export the "
        "model again with 'patchwatch export'"
    )


def _rule(
    kind: Problem, pattern: str, sentence: str | _Sentence
) -> tuple[Problem, re.Pattern[str], str | _Sentence]:
    return kind, re.compile(pattern, re.IGNORECASE), sentence


# More specific wordings stand above more general ones. All were taken from public logs.
_RULES = (
    _rule(
        # Which of the two is the engine's has been seen both ways round, so neither is claimed.
        Problem.OTHER_VERSION,
        r"compatible with this version of TensorRT, expecting (?:library |format )?(?:version )?"
        r"([\d.]+\d) ?got ([\d.]+\d)",
        "expected an engine of this TensorRT, found one of another (of {} and {} one is this "
        "TensorRT); " + _BUILD_AGAIN,
    ),
    _rule(
        Problem.OTHER_VERSION,
        r"Version tag does not match.*?Current Version: (\d+), Serialized Engine Version: (\d+)",
        "expected an engine of this TensorRT, found one of another (format {1}, here {0}); "
        + _BUILD_AGAIN,
    ),
    _rule(
        Problem.OTHER_VERSION,
        r"compatible with this version of TensorRT|Version tag does not match",
        "expected an engine of this TensorRT, found one of another; " + _BUILD_AGAIN,
    ),
    _rule(
        Problem.OTHER_GPU,
        r"incompatible device, expecting compute ([\d.]+\d) got compute ([\d.]+\d)",
        "expected an engine for this GPU, found one for another (of compute capabilities {} and {} "
        "one is this GPU's); " + _BUILD_AGAIN,
    ),
    _rule(
        Problem.OTHER_GPU,
        r"Platform specific tag mismatch|across different models of devices",
        "expected an engine for this device, found one that was built on another; " + _BUILD_AGAIN,
    ),
    _rule(
        Problem.NOT_A_PLAN,
        r"magic ?tag",
        "expected a TensorRT engine, found another kind of file, or one with something in front of "
        "the engine; build it: patchwatch export MODEL.onnx --engine",
    ),
    _rule(
        Problem.DAMAGED,
        r"does not match archive size|engine->deserialize\(|empty memory buffer",
        "expected a whole engine, found one that is cut short or damaged; copy it again, or "
        + _BUILD_AGAIN,
    ),
    _rule(
        Problem.OUT_OF_MEMORY,
        r"CUDA initialization failure with error: 2\b",
        _no_memory,
    ),
    _rule(Problem.NO_GPU, r"CUDA initialization failure with error: (\d+)", _no_gpu),
    _rule(
        Problem.NO_GPU,
        r"no CUDA-capable device|CUDA driver is a stub|factory function returned nullptr",
        "expected a GPU that CUDA can use, found none; see 'patchwatch doctor'",
    ),
    _rule(
        Problem.UNSUPPORTED_GPU,
        r"Target GPU SM (\d+) is not supported",
        "expected a GPU that this TensorRT has code for, found sm_{}; install the TensorRT that "
        "was made for this board",
    ),
    _rule(
        Problem.UNSUPPORTED_GPU,
        r"no kernel image is available",
        "expected a GPU that this TensorRT has code for, found another; install the TensorRT that "
        "was made for this board",
    ),
    _rule(
        Problem.WRONG_CONTEXT,
        r"invalid resource handle|invalid device context",
        "expected the CUDA context and thread that the engine was loaded in, found another; run it "
        "where it was loaded, and let no other library make a context of its own",
    ),
    _rule(
        Problem.OUT_OF_MEMORY,
        r"OutOfMemory|out of memory|could not be allocated|insuf+icient memory"
        r"|memory is insufficient",
        _no_memory,
    ),
    _rule(
        Problem.PRECISION,
        r"precision has been set for at least one layer or layer output, but (\w+) is not",
        "the file holds {0} tensors, and the builder was not set to {0}; build it with that "
        "precision",
    ),
    _rule(
        Problem.PRECISION,
        r"!config\.getFlag\(BuilderFlag::k\w+\)|usingStronglyTyped",
        "a strongly typed network takes its precision from the file, and the builder was set to "
        "another; build without a precision, or weakly typed",
    ),
    _rule(
        Problem.UNSUPPORTED_OPERATOR,
        r"Cannot find plugin: (\w+)|could not find plugin:? (\w+)|importer registered for op: (\w+)"
        r"|operator: (\w+) \((?:check|import)FallbackPlugin|Plugin not found, are the plugin name",
        _operator,
    ),
    _rule(
        Problem.UNSUPPORTED_OPERATOR,
        r"operator: (\w+).*(?:UNSUPPORTED_NODE|INVALID_NODE)|UNSUPPORTED_(?:NODE|GRAPH)"
        r"|UINT8 types for intermediate|Non-zero zero point|(Dequantize)Layer can only run"
        r"|parsing node number \d+ \[(\w+) ->",
        _operator,
    ),
    _rule(
        Problem.SHAPE,
        r"does not satisfy any optimization profile|exceed min ~ max range"
        r"|no optimization profile has been defined|static dimensions that don't match"
        r"|dimension mismatch for tensor|Not all shapes are specified",
        "expected frames of a shape that the engine was built for, found another; build an engine "
        "for this shape",
    ),
)
