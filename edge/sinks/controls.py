"""What a person changes while a run goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Controls:
    """Shared by the window, which writes, and whoever runs the cameras, which reads.

    Threads may differ: each attribute is set as a whole, and nobody waits for it.

    Attributes:
        stop: end the run cleanly after this frame.
        heat_map: draw the heat map.
    """

    stop: bool = False
    heat_map: bool = True
