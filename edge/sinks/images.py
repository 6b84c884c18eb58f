"""Annotated images: one picture file per result, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import cv2
import numpy as np
from typing_extensions import Self

from edge.errors import SinkError
from edge.files import sink_error
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.paths import file_stem, make_folder, placed
from edge.types import Frame, Image, Picture, Result

if TYPE_CHECKING:
    from edge.config.parts import OutputConfig

ImageSuffix = Literal[".jpg", ".png"]
JPEG_QUALITY = 95


class ImagesSink(ConfiguredSink):
    """Writes `{stem}_{index:06d}.jpg` per result, the stem being the source's.

    No file is ever overwritten: where the name exists (another source of the same stem, an
    earlier run) the stem becomes `{stem}-2`, `{stem}-3` and so on. The folder is created.
    """

    name = "images"
    wants_picture = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._source: str | None = None
        self._number = 1

    @classmethod
    def from_options(cls, options: OutputConfig, context: SinkContext) -> Self:
        """From the key `output.images`."""
        return cls(Path(placed(str(options.images), context.name)))

    def check(self) -> None:
        """Create the folder."""
        make_folder(self._folder, "pictures")

    def write(self, result: Result, picture: Picture) -> None:
        """Write one picture."""
        data = encode_image(picture(), ".jpg")
        try:
            with self._create(result.frame) as file:
                try:
                    file.write(data)
                    file.flush()
                except OSError:  # no half of a picture is left
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise sink_error(self._folder, error) from error

    def _create(self, frame: Frame) -> BinaryIO:
        """Create the file of a frame under the first name that is free."""
        if frame.source != self._source:
            self._source, self._number = frame.source, 1
        while True:
            number = "" if self._number == 1 else f"-{self._number}"
            name = f"{file_stem(frame.source)}{number}_{frame.index:06d}.jpg"
            try:
                return (self._folder / name).open("xb")
            except FileExistsError:
                self._number += 1


def encode_image(image: Image, suffix: ImageSuffix) -> bytes:
    """Encode a picture, uint8 [H, W, 3] BGR.

    Raises:
        SinkError: the format cannot hold it (JPEG ends at 65,500 pixels a side).
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    try:
        done, data = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    except cv2.error:
        done = False
    if not done:
        height, width = image.shape[:2]
        raise SinkError(f"a picture of {width}×{height} pixels cannot be written as {suffix}.")
    return data.tobytes()
