"""A page in this process, fed by hand; and a program with a page in one of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from edge.config import build_config
from edge.manifest import read_manifest
from edge.overlay import Painter
from edge.types import Evidence, Frame, Image, Region, Result, State, Verdict
from edge.web.app import Served
from edge.web.decode import Limits
from edge.web.hub import Hub
from edge.web.metrics import Metrics
from edge.web.scorer import Scorer
from edge.web.view import WebServer
from tests.fakes import barred, wait_for

TOKEN = "0123456789abcdef-token"


class Page:
    """What is served, and a client that asks for it."""

    def __init__(self, served: Served, client: httpx.Client) -> None:
        self.served, self.hub, self.client = served, served.hub, client
        manifest = served.model
        self._painter = Painter(manifest.calibration, manifest.patches)
        self._count = 0

    def add(
        self, name: str, state: State = "real", score: float = 0.2, image: Image | None = None
    ) -> None:
        """Let a camera deliver a result."""
        shown = barred(90, 72, 96) if image is None else image
        self._count += 1
        frame = Frame(shown, self._count, time.time(), name)
        silent = state == "no_signal"
        evidence = None if silent else Evidence(1.0)
        regions = () if silent else (Region((0, 0, 96, 72), (72, 96), Evidence(1.0)),)
        result = Result(
            frame,
            evidence,
            Verdict(state, None if silent else score),
            {"model": 3.5},
            regions,
            error="the cable is out" if silent else None,
            age_ms=None if silent else 12.0,
        )
        camera = self.hub.by_name(name)
        assert camera is not None
        camera.add(result, self._painter.picture(result))
        self.served.metrics.add(name, result)


@contextmanager
def page(
    model: str,
    *cameras: str,
    token: str | None = None,
    limits: Limits | None = None,
    **keys: Any,
) -> Iterator[Page]:
    """Serve on a free port; the client gives the token."""
    web = {"address": "127.0.0.1:0", **keys.pop("web", {})}
    config = build_config({"model": model, "backend": {"name": "onnxruntime"}, "web": web, **keys})
    hub = Hub(config.web.width, config.web.max_fps)
    manifest = read_manifest(Path(model))
    served = Served(hub, config, manifest, Metrics(hub, manifest), Scorer(config, limits=limits))
    with WebServer(served, token) as server:
        if cameras:
            hub.sources(cameras)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        base = server.url.rstrip("/").replace("localhost", "127.0.0.1")
        with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as client:
            yield Page(served, client)


class Program:
    """`patchwatch …` in a process of its own, with a page; a context manager that ends it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._output = folder / "program.txt"
        command = [sys.executable, "-m", "patchwatch", *words]
        with self._output.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, cwd=folder)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def url(self) -> str:
        """Where its page is, once it says so."""
        pattern = re.compile(r"the page is at (\S+)")
        wait_for(lambda: pattern.search(self.output) or self.process.poll() is not None)
        found = pattern.search(self.output)
        assert found is not None, self.output
        return found[1]
