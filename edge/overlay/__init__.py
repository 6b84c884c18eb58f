"""The overlay: what a person sees, drawn onto a copy of the frame."""

from edge.overlay.compose import draw
from edge.overlay.hud import Hud
from edge.overlay.painter import Painter

__all__ = ["Hud", "Painter", "draw"]
