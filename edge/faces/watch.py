"""The faces of one source, frame by frame, as its model is shown them."""

from __future__ import annotations

from edge.faces.boxes import crop_face, square_box
from edge.faces.finders import Faces
from edge.faces.tracks import Track, Tracks
from edge.regions import Crop
from edge.types import Image


class FaceWatch:
    """Looks for faces in every Nth frame and follows them in between. Not thread-safe.

    Where one is lost between, or the picture is another one altogether, it looks again at once.

    Args:
        faces: settings and finder, which several sources may share.
        size: side of the crops in pixels.
    """

    def __init__(self, faces: Faces, size: int) -> None:
        self._finder = faces.finder
        self._every = faces.settings.every
        self._size = size
        self._tracks = Tracks()
        self._unlooked = 0

    def start_anew(self) -> None:
        """The next frame has nothing to do with those before."""
        self._tracks.start_anew()
        self._unlooked = 0

    def follow(self, image: Image) -> None:
        """Go on to the next frame, uint8 [H, W, 3] BGR."""
        held = self._tracks.carry(image)
        if not held or self._unlooked == 0:
            self._tracks.match(self._finder.find(image), image)
            self._unlooked = 0
        self._unlooked = (self._unlooked + 1) % self._every

    @property
    def seen(self) -> list[Track]:
        """The faces that are in the frame that was followed into last."""
        return [track for track in self._tracks.tracks if track.seen]

    def crops(self, image: Image) -> list[Crop]:
        """Those faces, each in a square cut out of that frame, uint8 [H, W, 3] BGR."""
        crops = []
        for track in self.seen:
            box = square_box(track.xyxy, (image.shape[0], image.shape[1]))
            crops.append(Crop(box, crop_face(image, box, self._size), track.number))
        return crops
