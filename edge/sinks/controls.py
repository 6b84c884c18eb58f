"""What a person changes while a run goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Controls:
    """Shared by the window (which writes) and the pipeline (which reads), in one thread.

    Attributes:
        stop: end the run cleanly after this frame.
        heat_map: draw the heat map.
    """

    stop: bool = False
    heat_map: bool = True
