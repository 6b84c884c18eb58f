"""What TensorRT writes into its logger, and what it means.

TensorRT's calls return None or False; only the logger gets the reason. Its wordings differ between
versions, so they are matched by the words that stayed the same from 8.5 to 11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

Doing = Literal["build", "load", "run"]

_SHOWN = 300
_ERRORS = ("INTERNAL_ERROR", "ERROR")
_NO_KERNEL = "Could not find any implementation for node"
_BUILD_AGAIN = "build it again on this device"


class Line(NamedTuple):
    """One message of TensorRT; its severity by name, for instance "ERROR"."""

    severity: str
    text: str


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


def explain(lines: Iterable[Line], doing: Doing, otherwise: str = "") -> EngineProblem:
    """Say why TensorRT refused.

    Of several errors the first counts, as later ones follow from it. A warning counts where there
    is no error, or only the one that no kernel was found: builders warn of memory all the time.

    Args:
        lines: what its logger collected.
        doing: what was tried.
        otherwise: Python's message (a TypeError, "returned nothing"), if nothing was logged.
    """
    given = [Line(severity, " ".join(text.split())) for severity, text in lines]
    errors = [line.text for line in given if line.severity in _ERRORS]
    rest = [line.text for line in given if line.severity not in _ERRORS]
    warned = rest if not errors or any(_NO_KERNEL in text for text in errors) else []
    for text in (*errors, *warned, otherwise):
        for kind, pattern, sentence in _RULES:
            match = re.search(pattern, text, re.IGNORECASE)
            if match:
                first = next(filter(None, match.groups()), "")
                reason = sentence.format(
                    *match.groups(),
                    doing=doing,
                    smaller=_SMALLER[doing],
                    why=_CUDA_ERRORS.get(first, f"it gives error {first}"),
                    what=f"the operator {first}" if first else "one",
                )
                return EngineProblem(kind, reason, _shown(text))
    last = errors[-1] if errors else otherwise or (rest[-1] if rest else "")
    return EngineProblem(
        Problem.UNKNOWN,
        f"TensorRT could not {doing} {'an engine from it' if doing == 'build' else 'the engine'}",
        _shown(last),
    )


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


_SMALLER: dict[Doing, str] = {
    "build": "build for smaller frames or with a smaller workspace",
    **dict.fromkeys(("load", "run"), "use an engine for smaller frames or a smaller batch"),
}
_NO_MEMORY = (
    "the GPU has too little free memory to {doing} the engine; close other programs, or {smaller}"
)
_OPERATOR = (
    "expected operators that TensorRT knows, found {what} that it does not take; export the model "
    "again with 'patchwatch export'"
)
_CUDA_ERRORS = {
    "35": "there is no driver, or it is older than the CUDA that TensorRT was made for",
    "46": "another process holds the GPU",
    "100": "there is none",
}
"""Of the CUDA runtime's numbers those that TensorRT was seen to give up with."""

# More specific wordings stand above more general ones. All were taken from public logs.
_RULES: tuple[tuple[Problem, str, str], ...] = (
    (
        # Which of the two is the engine's has been seen both ways round, so neither is claimed.
        Problem.OTHER_VERSION,
        r"compatible with this version of TensorRT, expecting (?:library |format )?(?:version )?"
        r"([\d.]+\d) ?got ([\d.]+\d)",
        "expected an engine of this TensorRT, found one of another (of {} and {} one is this "
        "TensorRT); " + _BUILD_AGAIN,
    ),
    (
        Problem.OTHER_VERSION,
        r"Version tag does not match.*?Current Version: (\d+), Serialized Engine Version: (\d+)",
        "expected an engine of this TensorRT, found one of another (format {1}, here {0}); "
        + _BUILD_AGAIN,
    ),
    (
        Problem.OTHER_VERSION,
        r"compatible with this version of TensorRT|Version tag does not match",
        "expected an engine of this TensorRT, found one of another; " + _BUILD_AGAIN,
    ),
    (
        Problem.OTHER_GPU,
        r"incompatible device, expecting compute ([\d.]+\d) got compute ([\d.]+\d)",
        "expected an engine for this GPU, found one for another (of compute capabilities {} and {} "
        "one is this GPU's); " + _BUILD_AGAIN,
    ),
    (
        Problem.OTHER_GPU,
        r"Platform specific tag mismatch|across different models of devices",
        "expected an engine for this device, found one that was built on another; " + _BUILD_AGAIN,
    ),
    (
        Problem.NOT_A_PLAN,
        r"magic ?tag",
        "expected a TensorRT engine, found another kind of file, or one with something in front of "
        "the engine; build it: patchwatch export MODEL.onnx --engine",
    ),
    (
        Problem.DAMAGED,
        r"does not match archive size|engine->deserialize\(|empty memory buffer",
        "expected a whole engine, found one that is cut short or damaged; copy it again, or "
        + _BUILD_AGAIN,
    ),
    (Problem.OUT_OF_MEMORY, r"CUDA initialization failure with error: 2\b", _NO_MEMORY),
    (
        Problem.NO_GPU,
        r"CUDA initialization failure with error: (\d+)",
        "expected a GPU that CUDA can use, found that {why}; see 'patchwatch doctor'",
    ),
    (
        Problem.NO_GPU,
        r"no CUDA-capable device|CUDA driver is a stub|factory function returned nullptr",
        "expected a GPU that CUDA can use, found none; see 'patchwatch doctor'",
    ),
    (
        Problem.UNSUPPORTED_GPU,
        r"Target GPU SM (\d+) is not supported",
        "expected a GPU that this TensorRT has code for, found sm_{}; install the TensorRT that "
        "was made for this board",
    ),
    (
        Problem.UNSUPPORTED_GPU,
        r"no kernel image is available",
        "expected a GPU that this TensorRT has code for, found another; install the TensorRT that "
        "was made for this board",
    ),
    (
        Problem.WRONG_CONTEXT,
        r"invalid resource handle|invalid device context",
        "expected the CUDA context and thread that the engine was loaded in, found another; run it "
        "where it was loaded, and let no other library make a context of its own",
    ),
    (
        Problem.OUT_OF_MEMORY,
        r"OutOfMemory|out of memory|could not be allocated|insuf+icient memory"
        r"|memory is insufficient",
        _NO_MEMORY,
    ),
    (
        Problem.PRECISION,
        r"precision has been set for at least one layer or layer output, but (\w+) is not",
        "the file holds {0} tensors, and the builder was not set to {0}; build it with that "
        "precision",
    ),
    (
        Problem.PRECISION,
        r"!config\.getFlag\(BuilderFlag::k\w+\)|usingStronglyTyped",
        "a strongly typed network takes its precision from the file, and the builder was set to "
        "another; build without a precision, or weakly typed",
    ),
    (
        Problem.UNSUPPORTED_OPERATOR,
        r"Cannot find plugin: (\w+)|could not find plugin:? (\w+)|importer registered for op: (\w+)"
        r"|operator: (\w+) \((?:check|import)FallbackPlugin|Plugin not found, are the plugin name",
        _OPERATOR,
    ),
    (
        Problem.UNSUPPORTED_OPERATOR,
        r"operator: (\w+).*(?:UNSUPPORTED_NODE|INVALID_NODE)|UNSUPPORTED_(?:NODE|GRAPH)"
        r"|UINT8 types for intermediate|Non-zero zero point|(Dequantize)Layer can only run"
        r"|parsing node number \d+ \[(\w+) ->",
        _OPERATOR,
    ),
    (
        Problem.SHAPE,
        r"does not satisfy any optimization profile|exceed min ~ max range"
        r"|no optimization profile has been defined|static dimensions that don't match"
        r"|dimension mismatch for tensor|Not all shapes are specified",
        "expected frames of a shape that the engine was built for, found another; build an engine "
        "for this shape",
    ),
)
