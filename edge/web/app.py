"""The routes: pages, `/api/v1`, health and figures."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.types import ASGIApp

from edge.config import RunConfig
from edge.config.parts import WebConfig
from edge.errors import PatchwatchError, RegionError, SourceError
from edge.manifest import Manifest
from edge.sinks.incidents import IncidentStore, stores_of
from edge.sources import source_name
from edge.web.decode import suffix_of
from edge.web.guard import Guard
from edge.web.hub import CameraState, Hub, Layer
from edge.web.metrics import Metrics
from edge.web.scorer import Scorer

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
_EVENTS_S = 0.25
_HEARTBEAT_S = 10.0
_MOST_WAITING = 4
_RECEIVE_S = 120.0
_PART = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n--frame\r\n"
"""With the next boundary, as browsers show a picture when that comes."""


_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "There is none of this id."}}
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
    **_NOT_FOUND,
}
_REFUSED: dict[int | str, dict[str, Any]] = {
    408: {"description": "It came too slowly."},
    413: {"description": "The file is too large."},
    415: {"description": "It is neither a picture nor a clip of a known kind."},
    422: {"description": "It is damaged, too small, or has too many pixels."},
    503: {"description": "Others wait already, or the model cannot run; the log says why."},
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

CameraId = Annotated[str, InPath(max_length=300, description="`id` of a camera.")]

IncidentId = Annotated[str, InPath(max_length=64, description="`id` of an incident.")]
Before = Annotated[str | None, Query(max_length=64, description="Those older than this one.")]
CameraName = Annotated[str | None, Query(max_length=300, description="`name` of a camera.")]


class Stretch(BaseModel):
    """A part of a clip that is fake."""

    begin_s: float
    end_s: float
    score: float


class Claim(BaseModel):
    """One thing that a file says of itself, and how far it can be believed."""

    kind: str
    value: str
    where: str
    surety: str


class Score(BaseModel):
    """The verdict on an upload; `plain` and `heat` are JPEG data URLs, without and with tint."""

    kind: str
    verdict: str
    score: float | None
    threshold: float
    reason: str | None
    model: str
    width: int
    height: int
    plain: str
    heat: str
    seconds: float | None = None
    fake_share: float | None = None
    stretches: list[Stretch] | None = None
    claims: list[Claim] = []


@dataclass(slots=True)
class Served:
    """What is served: the cameras, none for a page for pictures alone."""

    hub: Hub
    config: RunConfig
    model: Manifest
    metrics: Metrics
    scorer: Scorer
    live: bool = True

    @property
    def web(self) -> WebConfig:
        """The section of the configuration."""
        return self.config.web

    def camera(self, key: str) -> CameraState:
        """A camera by its id, or a 404."""
        camera = self.hub.cameras.get(key)
        if camera is None:
            raise HTTPException(404, "no such camera.")
        return camera


def make_app(served: Served, token: str | None) -> ASGIApp:
    """The application, guarded."""
    app = FastAPI(
        title="Patchwatch",
        version=metadata.version("patchwatch"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    for failure in (PatchwatchError, MemoryError):
        app.add_exception_handler(failure, _unavailable)
    for add in (_add_pages, _add_health, _add_cameras, _add_live, _add_incidents, _add_scoring):
        add(app, served)
    web = served.web
    alone = token is None and not web.insecure
    return Guard(app, token, loopback=alone, tls=web.certificate is not None)


def _unavailable(request: Request, error: Exception) -> Response:
    """What is no fault of who asks."""
    log.warning("%s: %s", request.url.path, str(error) or "there is too little memory.")
    return JSONResponse({"detail": "it cannot be done now: the log of the program says why."}, 503)


def _add_pages(app: FastAPI, served: Served) -> None:
    def page(name: str) -> FileResponse:
        return FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return page("live.html" if served.live else "picture.html")

    @app.get("/picture", include_in_schema=False)
    def picture() -> FileResponse:
        return page("picture.html")

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> FileResponse:
        if name not in {path.name for path in STATIC.iterdir()}:
            raise HTTPException(404)
        return page(name)


def _add_health(app: FastAPI, served: Served) -> None:
    @app.get("/healthz", tags=["health"])
    def healthz() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], responses={503: {"description": "Not ready."}})
    def readyz(response: Response) -> dict[str, str]:
        """503 while starting or stopping, and while no camera gives a picture."""
        if not served.hub.ready:
            response.status_code = 503
            dead = served.hub.state == "running"
            return {"status": "no camera gives a picture" if dead else served.hub.state}
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(served.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_cameras(app: FastAPI, served: Served) -> None:
    @app.get("/api/v1/cameras")
    def cameras() -> list[dict[str, Any]]:
        """Every camera with its newest result, in the order in which they are shown."""
        return [camera.record() for camera in served.hub.cameras.values()]

    @app.get("/api/v1/cameras/{key}", responses=_NOT_FOUND)
    def camera(key: CameraId) -> dict[str, Any]:
        """A camera with its newest result, as in JSON lines, and its health."""
        return served.camera(key).record()

    @app.get("/api/v1/cameras/{key}/history", responses=_NOT_FOUND)
    def history(key: CameraId) -> list[tuple[float, float | None, str]]:
        """Unix time, score and verdict of the last five minutes, oldest first."""
        return served.camera(key).history()

    @app.get("/api/v1/cameras/{key}/snapshot", responses=_JPEG, response_class=Response)
    async def snapshot(key: CameraId, layer: Layer = "heat") -> Response:
        """The newest picture: `plain`, with the `overlay`, or with the `heat` map too."""
        data = await served.camera(key).jpeg(layer, served.hub.encoder)
        if data is None:
            raise HTTPException(404, "no picture came so far.")
        return Response(data, media_type="image/jpeg")

    @app.get("/api/v1/model")
    def model() -> Manifest:
        """The model's card."""
        return served.model

    @app.get("/api/v1/config")
    def config() -> dict[str, Any]:
        """What the run was told to do; addresses without credentials, options of sinks left out."""
        return _shown_config(served.config)


def _shown_config(config: RunConfig) -> dict[str, Any]:
    shown = config.model_dump(mode="json", exclude={"sinks", "web", "models", "cameras", "source"})
    shown["source"] = None if config.source is None else source_name(config.source)
    shown["cameras"] = [
        {"name": camera.name, "source": source_name(camera.source)} for camera in config.cameras
    ]
    return shown


def _add_live(app: FastAPI, served: Served) -> None:
    hub = served.hub

    @app.get("/api/v1/cameras/{key}/live", response_class=StreamingResponse, responses=_NOT_FOUND)
    async def live(key: CameraId, layer: Layer = "heat") -> StreamingResponse:
        """The live picture as motion JPEG; a slow viewer gets the newest when it is able to."""
        served.camera(key)
        kind = "multipart/x-mixed-replace; boundary=frame"
        return StreamingResponse(_pictures(hub, key, layer), media_type=kind)

    @app.get("/api/v1/events", response_class=StreamingResponse)
    async def events() -> StreamingResponse:
        """Server-sent events: `cameras`, a list of those that changed, all of them at first."""
        return StreamingResponse(_changes(hub), media_type="text/event-stream")


async def _pictures(hub: Hub, key: str, layer: Layer) -> AsyncIterator[bytes]:
    hub.viewers += 1
    try:
        seen: object = None
        begin = b"--frame\r\n"
        while hub.state != "stopping" and (camera := hub.cameras.get(key)) is not None:
            if camera.newest is not seen:
                seen = camera.newest
                if (data := await camera.jpeg(layer, hub.encoder)) is not None:
                    yield begin + _PART % (len(data), data)
                    begin = b""
            await asyncio.sleep(hub.period_s)
    finally:
        hub.viewers -= 1


async def _changes(hub: Hub) -> AsyncIterator[bytes]:
    seen: dict[str, int] = {}
    names: list[str] = []
    quiet_s = 0.0
    while hub.state != "stopping":
        cameras = list(hub.cameras.values())
        changed = [camera for camera in cameras if seen.get(camera.id) != camera.version]
        if names != [camera.id for camera in cameras]:
            names = [camera.id for camera in cameras]
            yield b"event: order\ndata: %s\n\n" % json.dumps(names).encode()
        if changed:
            seen |= {camera.id: camera.version for camera in changed}
            data = json.dumps([camera.record() for camera in changed])
            yield b"event: cameras\ndata: %s\n\n" % data.encode("utf-8", "backslashreplace")
            quiet_s = 0.0
        elif quiet_s > _HEARTBEAT_S:
            yield b": still here\n\n"
            quiet_s = 0.0
        quiet_s += _EVENTS_S
        await asyncio.sleep(_EVENTS_S)


def _add_incidents(app: FastAPI, served: Served) -> None:
    stores = stores_of(served.config)

    def found(key: str) -> tuple[IncidentStore, dict[str, Any]]:
        for store in stores:
            if (incident := store.get(key)) is not None:
                return store, incident
        raise HTTPException(404, "no such incident.")

    @app.get("/api/v1/incidents", responses=_NOT_FOUND)
    def incidents(
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        before: Before = None,
        camera: CameraName = None,
    ) -> dict[str, Any]:
        """Incidents, newest first; `next` is `before` of the next page, null at the end."""
        last = None if before is None else found(before)[1]
        after = None if last is None else (last["began"], last["id"])
        pages = [store.page(limit + 1, after, camera) for store in stores]
        newest = sorted(chain(*pages), key=lambda i: (i["began"], i["id"]), reverse=True)
        more = newest[limit - 1]["id"] if len(newest) > limit else None
        return {"kept": bool(stores), "incidents": newest[:limit], "next": more}

    @app.get("/api/v1/incidents/{key}", responses=_NOT_FOUND)
    def incident(key: IncidentId) -> dict[str, Any]:
        """One incident."""
        return found(key)[1]

    @app.get("/api/v1/incidents/{key}/snapshot", responses=_JPEG, response_class=Response)
    def snapshot(key: IncidentId) -> Response:
        """The annotated picture of when it was raised."""
        data = found(key)[0].snapshot(key)
        if data is None:
            raise HTTPException(404, "no picture of this incident.")
        kept = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(data, media_type="image/jpeg", headers=kept)


def _add_scoring(app: FastAPI, served: Served) -> None:
    most = int(served.web.upload_mb * 1e6)
    waiting = 0

    @app.post("/api/v1/score", openapi_extra=_UPLOAD, responses=_REFUSED)
    async def score(request: Request) -> Score:
        """Judge the picture or clip that is the body, whatever its declared type."""
        nonlocal waiting
        if waiting >= _MOST_WAITING:
            raise HTTPException(503, "others wait already: try again.", {"Retry-After": "10"})
        waiting += 1
        try:
            with tempfile.TemporaryDirectory(prefix="patchwatch-") as folder:
                receiving = _received(request, Path(folder), most)
                path = await asyncio.wait_for(receiving, _RECEIVE_S)
                return Score(**await asyncio.wrap_future(served.scorer.submit(path)))
        except asyncio.TimeoutError as error:
            slow = f"the upload took longer than {_RECEIVE_S:g} s."
            raise HTTPException(408, slow, {"Connection": "close"}) from error
        except (SourceError, RegionError) as error:
            raise HTTPException(422, str(error)) from error
        finally:
            waiting -= 1


async def _received(request: Request, folder: Path, most: int) -> Path:
    """Write the body to a file that nobody can execute and no one else read."""
    # What is left of the body is not waited for.
    too_large = HTTPException(413, f"expected at most {most / 1e6:g} MB.", {"Connection": "close"})
    with suppress(ValueError):
        if int(request.headers.get("content-length", "0")) > most:
            raise too_large
    path, size = folder / "upload", 0
    with path.open("xb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise too_large
            file.write(chunk)
    with path.open("rb") as file:
        suffix = suffix_of(file.read(200))
    if suffix is None:
        raise HTTPException(
            415, "expected a picture (JPEG, PNG, WebP, GIF, TIFF, …) or a clip (MP4, WebM, …)."
        )
    return path.rename(path.with_suffix(suffix))
