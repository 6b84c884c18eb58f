"""What TensorRT writes into its logger, and what it means.

TensorRT's calls return None or False; only the logger gets the reason. Its wordings differ between
versions, so they are matched by the words that stayed the same from 8.5 to 11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, auto
from typing import Literal, NamedTuple

Doing = Literal["build", "load", "run"]

_SHOWN = 300
_ERRORS = ("INTERNAL_ERROR", "ERROR")
_NO_KERNEL = "Could not find any implementation for node"


class Line(NamedTuple):
    """One message of TensorRT; its severity by name, for instance "ERROR"."""

    severity: str
    text: str


class Problem(Enum):
    """Why TensorRT refused."""

    OTHER_VERSION = auto()
    OTHER_GPU = auto()
    DAMAGED = auto()
    NOT_A_PLAN = auto()
    OUT_OF_MEMORY = auto()
    NO_GPU = auto()
    UNSUPPORTED_GPU = auto()
    UNSUPPORTED_OPERATOR = auto()
    WRONG_CONTEXT = auto()
    PRECISION = auto()
    SHAPE = auto()
    UNKNOWN = auto()


class EngineProblem(NamedTuple):
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
            if re.search(pattern, text, re.IGNORECASE):
                reason = sentence.format(doing=doing, smaller=_SMALLER[doing])
                return EngineProblem(kind, reason, text[:_SHOWN])
    last = errors[-1] if errors else otherwise or (rest[-1] if rest else "")
    what = "an engine from it" if doing == "build" else "the engine"
    return EngineProblem(Problem.UNKNOWN, f"TensorRT could not {doing} {what}", last[:_SHOWN])


_SMALLER: dict[Doing, str] = {
    "build": "build for smaller frames or with a smaller workspace",
    **dict.fromkeys(("load", "run"), "use an engine for smaller frames or a smaller batch"),
}

# More specific wordings stand above more general ones. All were taken from public logs. Versions,
# GPUs and operators are in TensorRT's own line, which is shown behind the sentence.
_RULES: tuple[tuple[Problem, str, str], ...] = (
    (
        Problem.OTHER_VERSION,
        r"compatible with this version of TensorRT|Version tag does not match",
        "expected an engine of this TensorRT, found one of another; build it again on this device",
    ),
    (
        Problem.OTHER_GPU,
        r"incompatible device|Platform specific tag mismatch|across different models of devices",
        "expected an engine for this device, found one that was built on another; build it again "
        "on this device",
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
        "expected a whole engine, found one that is cut short or damaged; copy it again, or build "
        "it again on this device",
    ),
    (
        Problem.OUT_OF_MEMORY,
        r"CUDA initialization failure with error: 2\b|OutOfMemory|out of memory"
        r"|could not be allocated|insuf+icient memory|memory is insufficient",
        "the GPU has too little free memory to {doing} the engine; close other programs, or "
        "{smaller}",
    ),
    (
        Problem.NO_GPU,
        r"CUDA initialization failure with error: 35\b",
        "expected a GPU that CUDA can use, found that there is no driver, or one older than the "
        "CUDA that TensorRT was made for; see 'patchwatch doctor'",
    ),
    (
        Problem.NO_GPU,
        r"CUDA initialization failure|no CUDA-capable device|CUDA driver is a stub"
        r"|factory function returned nullptr",
        "expected a GPU that CUDA can use, found none, or one that another process holds; see "
        "'patchwatch doctor'",
    ),
    (
        Problem.UNSUPPORTED_GPU,
        r"Target GPU SM \d+ is not supported|no kernel image is available",
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
        Problem.PRECISION,
        r"precision has been set for at least one layer or layer output"
        r"|!config\.getFlag\(BuilderFlag::k\w+\)|usingStronglyTyped",
        "the file holds its own precision, and the builder was set to another; build it with that "
        "of the file",
    ),
    (
        Problem.UNSUPPORTED_OPERATOR,
        r"(?:Cannot|could not) find plugin|importer registered for op|Plugin not found"
        r"|UNSUPPORTED_(?:NODE|GRAPH)|INVALID_NODE|UINT8 types for intermediate"
        r"|Non-zero zero point|DequantizeLayer can only run|parsing node number",
        "expected operators that TensorRT knows, found one that it does not take; export the model "
        "again with 'patchwatch export'",
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
