"""The overlay: what a person sees, drawn onto a copy of the frame."""

from edge.overlay.painter import Painter, draw
from edge.overlay.style import Hud

__all__ = ["Hud", "Painter", "draw"]
