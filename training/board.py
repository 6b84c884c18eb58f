"""Curves for TensorBoard, written at once: a full disk is met here and not in another thread."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any

from edge.errors import MissingDependency, SinkError


class Board:
    """An event file, which `tensorboard --logdir FOLDER` shows.

    Args:
        folder: made where it is absent.
        step: steps done already; what other files of the folder say of later ones is not shown.

    Raises:
        MissingDependency: the library tensorboard is absent.
        SinkError: the file cannot be made.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            proto = importlib.import_module("tensorboard.compat.proto.event_pb2")
            self._summary: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2")
            records = importlib.import_module("tensorboard.summary.writer.record_writer")
        except ImportError as error:
            raise MissingDependency(
                "tensorboard", "draw curves", "pip install tensorboard"
            ) from error
        self._proto: Any = proto
        self._path = folder / f"events.out.tfevents.{int(time.time())}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._records: Any = records.RecordWriter(self._path.open("wb"))
        except OSError as error:
            raise self._unwritable(error) from error
        self._write(file_version="brain.Event:2")
        if step:
            started = proto.SessionLog(status=proto.SessionLog.START)
            self._write(step=step + 1, session_log=started)

    def add(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve.

        Raises:
            SinkError: it cannot be written.
        """
        point = self._summary.Summary.Value(tag=name, simple_value=value)
        self._write(step=step, summary=self._summary.Summary(value=[point]))

    def add_picture(self, name: str, png: bytes, hw: tuple[int, int], step: int) -> None:
        """Show a picture.

        Args:
            name: of the row of pictures.
            png: the file's bytes.
            hw: its height and width in pixels.
            step: after which it was made.

        Raises:
            SinkError: it cannot be written.
        """
        height, width = hw
        picture = self._summary.Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=png
        )
        value = self._summary.Summary.Value(tag=name, image=picture)
        self._write(step=step, summary=self._summary.Summary(value=[value]))

    def flush(self) -> None:
        """Let others see what was added.

        Raises:
            SinkError: it cannot be written.
        """
        try:
            self._records.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Finish the file; what cannot be written any more is lost."""
        try:
            self._records.close()
        except OSError:
            return

    def _write(self, **content: object) -> None:
        event = self._proto.Event(wall_time=time.time(), **content)
        try:
            self._records.write(event.SerializeToString())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SinkError:
        return SinkError(f"{self._path} cannot be written: {error.strerror or error}.")
