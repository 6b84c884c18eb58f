"""Faces: where they are in a frame, who is who from frame to frame, and their crops."""

from edge.faces.base import Face, FaceFinder
from edge.faces.boxes import CROP_SCALE, crop_face, square_box
from edge.faces.finders import Faces, FaceSettings, open_finder
from edge.faces.tracks import Track, Tracks

__all__ = [
    "CROP_SCALE",
    "Face",
    "FaceFinder",
    "FaceSettings",
    "Faces",
    "Track",
    "Tracks",
    "crop_face",
    "open_finder",
    "square_box",
]
