"""The overlay: what a person sees, drawn onto a copy of the frame.

What is called `draw_…` or `write…` draws onto a picture, uint8 [H, W, 3] BGR, in place, at the
sizes of the `Layout` for it.
"""

from edge.overlay.painter import Painter, draw
from edge.overlay.style import Hud

__all__ = ["Hud", "Painter", "draw"]
