"""What the page shows: the newest of each camera, kept for all viewers together.

The loops write, the server's thread reads; neither waits for the other's work. A viewer holds
nothing but the picture that it saw last, so that a slow one costs itself alone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any, Literal

import simplejpeg

from edge.overlay import draw
from edge.overlay.heat import HeatCache
from edge.overlay.painter import scaled
from edge.record import to_record
from edge.sinks.paths import file_stem
from edge.sinks.worker import WorkerHealth
from edge.sources.live import Health
from edge.types import Image, Picture, Result

Layer = Literal["plain", "overlay", "heat"]
"""What is drawn on a picture: nothing, the words, or the words and the heat map."""

HISTORY_S = 300.0
_STEP_S = 0.25
_QUALITY = 80


class CameraState:
    """The newest of one camera. The loops call `add` and `tell`; all else is the server's."""

    def __init__(self, name: str, width: int) -> None:
        self.name = name
        self.id = file_stem(name)
        self.version = 0
        self.newest: tuple[Result, Picture] | None = None
        self.health: Health | None = None
        self.sinks: tuple[WorkerHealth, ...] = ()
        self._history: deque[tuple[float, float | None, str]] = deque()
        self._width = width
        self._changing = threading.Lock()
        self._encoded: dict[Layer, tuple[object, asyncio.Future[bytes]]] = {}
        self._heat = HeatCache()

    def add(self, result: Result, picture: Picture) -> None:
        """Take a result; returns at once."""
        now = time.time()
        state, score = result.verdict.state, result.verdict.score
        history = self._history
        with self._changing:
            self.newest = result, picture
            if not history or now - history[-1][0] >= _STEP_S or history[-1][2] != state:
                history.append((round(now, 3), None if score is None else round(score, 4), state))
                if now - history[0][0] > HISTORY_S:
                    history.popleft()
            self.version += 1

    def tell(self, health: Health, sinks: Sequence[WorkerHealth]) -> None:
        """Take the state of a live source and its sinks."""
        with self._changing:
            self.health, self.sinks = health, tuple(sinks)
            self.version += 1

    @property
    def alive(self) -> bool:
        """Whether pictures come."""
        return self.newest is not None and self.newest[0].verdict.state != "no_signal"

    def history(self) -> list[tuple[float, float | None, str]]:
        """Unix time, score and verdict of the last minutes, oldest first."""
        with self._changing:
            return list(self._history)

    def record(self) -> dict[str, Any]:
        """What is known, as a JSON object: the newest result as in JSON lines, rate and health."""
        record: dict[str, Any] = {"id": self.id, "name": self.name, "alive": self.alive}
        record |= {"result": None, "fps": None, "held_s": None, "threshold": None}
        if self.newest is not None:
            result, picture = self.newest
            record["result"] = to_record(result)
            if (hud := picture.hud) is not None:
                fps, held_s = hud.fps, hud.held_s
                record["fps"] = fps if fps is None or not self.alive else round(fps, 1)
                record["held_s"] = None if held_s is None else round(held_s, 1)
                record["threshold"] = hud.calibration.threshold
        record["health"] = None if self.health is None else asdict(self.health)
        record["sinks"] = [asdict(sink) for sink in self.sinks]
        return record

    async def jpeg(self, layer: Layer, encoder: ThreadPoolExecutor) -> bytes | None:
        """The newest picture, encoded once for all who ask; None before the first."""
        newest = self.newest
        if newest is None:
            return None
        held = self._encoded.get(layer)
        if held is None or held[0] is not newest:
            loop = asyncio.get_running_loop()
            held = newest, loop.run_in_executor(encoder, self._encode, *newest, layer)
            self._encoded[layer] = held
        # A viewer that goes must not take the picture from the others.
        return await asyncio.shield(held[1])

    def _encode(self, result: Result, picture: Picture, layer: Layer) -> bytes:
        height, width = result.frame.shown_hw
        if width > self._width:
            height, width = max(1, round(height * self._width / width)), self._width
        shown = scaled(result, height, width)
        if layer == "plain" and result.verdict.state != "no_signal":
            return encode_jpeg(shown.frame.image)
        if (hud := picture.hud) is None:
            return encode_jpeg(picture())
        hud = replace(hud, heat_map=layer == "heat")
        heat = self._heat.of(shown, hud) if hud.heat_map else ()
        return encode_jpeg(draw(shown, hud, heat))


class Hub:
    """The cameras of a run, by id.

    Attributes:
        cameras: replaced as a whole, in the order in which they are shown.
        state: of the run: `starting`, `running` or `stopping`.
        period_s: shortest time between two pictures for one viewer.
        viewers: of live pictures now.
    """

    def __init__(self, width: int = 1280, max_fps: float = 12.0) -> None:
        self.cameras: Mapping[str, CameraState] = {}
        self.state: Literal["starting", "running", "stopping"] = "starting"
        self.period_s = 1 / max_fps
        self.viewers = 0
        self.encoder = ThreadPoolExecutor(1, "patchwatch-web-picture")
        self._width = width

    def sources(self, names: Sequence[str]) -> None:
        """Show these cameras, in order; what is known of them is kept."""
        kept = {camera.name: camera for camera in self.cameras.values()}
        shown = [kept.get(name) or CameraState(name, self._width) for name in names]
        self.cameras = {camera.id: camera for camera in shown}
        self.state = "running"

    def by_name(self, name: str) -> CameraState | None:
        """A camera by the name that the loops know it by."""
        return next((c for c in self.cameras.values() if c.name == name), None)

    @property
    def ready(self) -> bool:
        """Whether the run goes on and pictures come from at least one camera, where there are."""
        alive = not self.cameras or any(camera.alive for camera in self.cameras.values())
        return self.state == "running" and alive


def encode_jpeg(image: Image) -> bytes:
    """A picture, uint8 [H, W, 3] BGR, as JPEG."""
    data: bytes = simplejpeg.encode_jpeg(image, quality=_QUALITY, colorspace="BGR")
    return data
