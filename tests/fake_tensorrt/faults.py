"""What a test lets go wrong."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, dataclass

VARIABLE = "FAKE_TENSORRT_FAULTS"


@dataclass(slots=True)
class Faults:
    """Fields may be changed at any time.

    Attributes:
        captures: whether what an engine does can be captured into a graph.
        cuda_error: the number with which CUDA fails to start, for instance 35; 0 for none.
        build_fails: a line for the log, with which every build gives None; "" for none.
        build_fails_typed: the same for builds of a strongly typed network alone.
        build_fails_weak: the same for builds of a weakly typed network alone.
        build_seconds: how long a build takes at least.
        build_dies: whose build ends the process: "any", "weak" or "typed"; "" for none.
        build_signal: with which it does; SIGKILL as the system does where memory is short.
        ignores_pins: weakly typed, half precision is also taken for layers that are pinned.
        compute_capability: for which plans are built, in place of the GPU's own, as [8, 6].
        library: version that is written into plans, in place of the release's own.
        context_fails: a line for the log, with which there is no context; "" for none.
        load_fails: a line for the log, with which no plan is taken; "" for none.
        logit_offset: is added to every logit.
        run_fails: a line for the log, with which nothing is put into the stream; "" for none.
    """

    captures: bool = True
    cuda_error: int = 0
    build_fails: str = ""
    build_fails_typed: str = ""
    build_fails_weak: str = ""
    build_seconds: float = 0.0
    build_dies: str = ""
    build_signal: int = int(signal.SIGKILL)
    ignores_pins: bool = False
    compute_capability: tuple[int, int] | None = None
    library: str = ""
    context_fails: str = ""
    load_fails: str = ""
    logit_offset: float = 0.0
    run_fails: str = ""

    @classmethod
    def from_environment(cls) -> Faults:
        """Those of `$FAKE_TENSORRT_FAULTS`, if there are any."""
        return cls(**json.loads(os.environ.get(VARIABLE, "{}")))

    def to_environment(self) -> dict[str, str]:
        """For a process of its own."""
        return {VARIABLE: json.dumps(asdict(self))}
