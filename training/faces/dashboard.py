"""A page on a search for the browser: Optuna's dashboard, served to this machine."""

from __future__ import annotations

import socketserver
from collections.abc import Callable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.console import Console

from edge.errors import MissingDependency, SinkError
from edge.signals import Stopped, stop_signals
from training.faces.storage import INSTALL, Artifacts

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A browser asks for several things at once."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def serve(
    storage: RDBStorage,
    artifacts: Artifacts,
    host: str,
    port: int,
    out: Console,
    on_ready: Callable[[int], None] = lambda port: None,
) -> int:
    """Answer until a stop signal.

    Args:
        storage: with the studies to show.
        artifacts: their files, which can be downloaded.
        host: to answer at.
        port: likewise; 0 for any that is free.
        out: where people read.
        on_ready: called with the port once it answers.

    Returns:
        0, as being stopped is its only end.

    Raises:
        MissingDependency: optuna-dashboard is absent.
        SinkError: the port cannot be had.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise MissingDependency("optuna-dashboard", "show a search", INSTALL) from error
    try:
        server = make_server(host, port, wsgi(storage, artifacts), _Server, _Quiet)
    except (OSError, OverflowError) as error:
        raise SinkError(f"{host}:{port} cannot be answered at ({error}). Try --port 0.") from error
    with server, stop_signals():
        try:
            _tell(host, server.server_port, out)
            on_ready(server.server_port)
            server.serve_forever()
        except Stopped:
            out.print("Stopped.")
    return 0


def _tell(host: str, port: int, out: Console) -> None:
    name = f"[{host}]" if ":" in host else host
    out.print(f"http://{name}:{port}/dashboard", soft_wrap=True, markup=False)
    if host not in LOOPBACK:
        out.print("Whoever can reach this address can change and delete studies.")
