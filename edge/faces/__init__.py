"""Faces: where they are in a frame, who is who from frame to frame, and their crops."""

from edge.faces.boxes import CROP_SCALE, crop_face, square_box
from edge.faces.finders import Face, FaceFinder, Faces, FaceSettings, open_finder

__all__ = [
    "CROP_SCALE",
    "Face",
    "FaceFinder",
    "FaceSettings",
    "Faces",
    "crop_face",
    "open_finder",
    "square_box",
]
