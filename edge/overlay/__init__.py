"""The overlay: what a person sees, drawn onto a copy of the frame."""

from edge.overlay.compose import draw
from edge.overlay.hud import Hud

__all__ = ["Hud", "draw"]
