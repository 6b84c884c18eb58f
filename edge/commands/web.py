"""A page that judges pictures and short clips: drop one, and see the verdict and the heat map.

It is served to this machine alone, and the browser opens by itself. Nothing is sent anywhere; an
upload is deleted as soon as it is judged. Ctrl-C ends it. For the live picture of a camera in the
browser: patchwatch run SOURCE --web 8080.

Exit codes: 2 wrong usage, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import argparse
import logging
import threading
import webbrowser

from edge.config import RunConfig, add_flags, flags_in, override
from edge.signals import Stopped, stop_signals
from edge.terminal import show_notes
from edge.web.app import Served
from edge.web.guard import read_token
from edge.web.hub import Hub
from edge.web.metrics import Metrics
from edge.web.scorer import Scorer
from edge.web.view import WebServer

ADDRESS = "127.0.0.1:8080"

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch web`."""
    add_flags(parser, "model", "region", "backend", "faces", "verdict.threshold", "web")
    parser.add_argument("--no-browser", action="store_true", help="open no browser")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; see the module's text for the exit codes."""
    show_notes()
    config = override(RunConfig(), {"web.address": ADDRESS, **flags_in(args)})
    token = read_token(config.web)
    try:
        with stop_signals(), Scorer(config, alone=True) as scorer:
            model, hub = scorer.open().manifest, Hub()
            served = Served(hub, config, model, Metrics(hub, model), scorer, live=False)
            with WebServer(served, token) as server:
                hub.state = "running"
                if not args.no_browser and not webbrowser.open(server.url):
                    log.info("no browser opened: open that address in one. Ctrl-C ends this.")
                threading.Event().wait()
    except Stopped as stopped:
        return stopped.exit_code
    return 0
