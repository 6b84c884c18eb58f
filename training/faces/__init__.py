"""Faces in videos: frames, data sets of face crops, and what is trained on them."""
