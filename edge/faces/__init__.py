"""Faces: where they are in a frame, who is who from frame to frame, and their crops."""

from edge.faces.boxes import CROP_SCALE, FACE_SIDE, aligned_crops, crop_face, square_box
from edge.faces.finder import Face, FaceFinder

__all__ = [
    "CROP_SCALE",
    "FACE_SIDE",
    "Face",
    "FaceFinder",
    "aligned_crops",
    "crop_face",
    "square_box",
]
