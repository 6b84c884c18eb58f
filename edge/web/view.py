"""The view that is a server: it keeps the newest of each camera, and serves it on a thread."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from typing_extensions import Self

from edge.config import RunConfig
from edge.errors import SinkError
from edge.live.views import View
from edge.manifest import Manifest
from edge.sinks.incidents import stores_of
from edge.sinks.worker import WorkerHealth
from edge.sources.live import Health
from edge.types import Picture, Result
from edge.web.app import Served, make_app
from edge.web.guard import read_token
from edge.web.hub import Hub
from edge.web.metrics import Metrics
from edge.web.scorer import Scorer

log = logging.getLogger(__name__)

_LEAVE_S = 10.0


class WebServer:
    """Serves a page on a thread of its own; a context manager.

    Args:
        served: what it shows.
        token: that is asked for; None for none.
    """

    def __init__(self, served: Served, token: str | None) -> None:
        web = served.config.web
        self._served, self._address = served, web.address or "127.0.0.1:0"
        self._socket: socket.socket | None = None
        # A program that serves others has its own words for what happens.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        try:
            config = uvicorn.Config(
                make_app(served, token),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="off",
                limit_concurrency=256,
                timeout_graceful_shutdown=1,
                ssl_certfile=web.certificate,
                ssl_keyfile=web.key,
            )
            config.load()
        except (OSError, ValueError) as error:
            raise SinkError(
                f"the page cannot use {web.certificate} and {web.key} for TLS ({error}). Expected "
                "a certificate and its key, PEM."
            ) from error
        self._scheme = "https" if config.is_ssl else "http"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="patchwatch-web", daemon=True)

    @property
    def url(self) -> str:
        """Where the page is, once it is served."""
        assert self._socket is not None
        host, port = self._address.rpartition(":")[0], self._socket.getsockname()[1]
        shown = "localhost" if host in ("0.0.0.0", "[::]", "127.0.0.1") else host
        return f"{self._scheme}://{shown}:{port}/"

    def __enter__(self) -> Self:
        """Serve; raises a SinkError where the address cannot be had."""
        host, _, port = self._address.rpartition(":")
        name = host.strip("[]")
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((name, int(port)))
            self._socket.listen(128)
        except OSError as error:
            self._socket.close()
            raise SinkError(
                f"the page cannot be served at {self._address} ({error.strerror or error}). Give "
                "--web another address or port."
            ) from error
        self._thread.start()
        log.info("the page is at %s", self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self._served.hub.state = "stopping"
        self._server.should_exit = True
        self._thread.join(_LEAVE_S)
        self._served.hub.encoder.shutdown(wait=False, cancel_futures=True)
        self._served.scorer.close()

    def _run(self) -> None:
        assert self._socket is not None
        self._server.run([self._socket])


class WebView(View):
    """Shows sources in browsers. `result` keeps the newest; all drawing is done for who looks."""

    name = "web"

    def __init__(self, config: RunConfig, model: Manifest) -> None:
        """Raises a UsageError where other machines would be served without a token."""
        token = read_token(config.web)
        self._hub = Hub(config.web.width, config.web.max_fps)
        self._metrics = Metrics(self._hub, model)
        served = self._served = Served(self._hub, config, model, self._metrics, Scorer(config))
        for store in stores_of(config):
            store.check()
        self._server = WebServer(served, token)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def sources(self, names: Sequence[str]) -> None:
        self._hub.sources(names)

    def switched(self, model: Manifest, path: Path) -> None:
        served = self._served
        served.model = model
        served.config = served.config.model_copy(update={"model": str(path)})
        served.scorer.use(path)
        self._metrics.switched(model)

    def result(self, name: str, result: Result, picture: Picture) -> None:
        if (camera := self._hub.by_name(name)) is not None:
            camera.add(result, picture)
            self._metrics.add(name, result)

    def health(self, name: str, health: Health, sinks: Sequence[WorkerHealth]) -> None:
        if (camera := self._hub.by_name(name)) is not None:
            camera.tell(health, sinks)
