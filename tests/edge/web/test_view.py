"""The page of a real run: recordings, TLS, and how it ends."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from edge.config import build_config, override
from edge.errors import SinkError
from edge.manifest import read_manifest
from edge.sinks.images import encode_image
from edge.web.view import WebView
from tests.edge.sources.clips import write_clip
from tests.edge.web.pages import TOKEN, Program
from tests.fakes import barred, make_manifest, wait_for
from tests.onnx_files import write_model


def test_a_recording_is_watched_at_its_own_speed_and_a_stalled_viewer_holds_up_no_end(
    tmp_path: Path, model: str
) -> None:
    write_clip(tmp_path / "clip.mp4", 900, (96, 64))  # thirty seconds
    words = ("run", "clip.mp4", "--model", model, "--headless", "--web", "127.0.0.1:0")
    with Program(tmp_path, *words, "--save", "out.mp4") as program:
        url = program.url
        with httpx.Client(base_url=url, trust_env=False) as client:
            wait_for(lambda: client.get("/readyz").status_code == 200)
            (camera,) = client.get("/api/v1/cameras").json()
            assert camera["health"] is None
            address = "127.0.0.1", int(url.rsplit(":", 1)[1].strip("/"))
            with socket.create_connection(address) as stalled:
                path = f"/api/v1/cameras/{camera['id']}/live"
                stalled.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                stalled.recv(100)
                with client.stream("GET", "/api/v1/events"):
                    program.process.send_signal(signal.SIGTERM)
                    assert program.process.wait(30) == 143
    assert (tmp_path / "out.mp4").stat().st_size > 0
    assert "Traceback" not in program.output


def test_with_a_certificate_it_is_served_over_tls_alone(tmp_path: Path, model: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    words = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
    words += " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", *words.split()]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    write_clip(tmp_path / "clip.mp4", 30, (96, 64))
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "run.yaml").write_text(
        f"{{model: {model}, source: clip.mp4, capture: {{loop: true}}, output: {{window: false}}, "
        "web: {address: '0.0.0.0:0', token_file: token, certificate: cert.pem, key: key.pem}}"
    )
    with Program(tmp_path, "run", "--config", "run.yaml") as program:
        assert program.url.startswith("https://localhost:")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with httpx.Client(base_url=program.url, verify=trusted, trust_env=False) as client:
            assert client.get("/api/v1/cameras").status_code == 401
            done = client.post("/login", data={"token": TOKEN})
            assert "secure" in done.headers["set-cookie"].lower()
            assert client.get("/api/v1/cameras").status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(program.url.replace("https", "http"), trust_env=False)
    assert TOKEN not in program.output


def test_the_page_judges_by_the_model_that_runs(tmp_path: Path, model: str) -> None:
    newer = write_model(tmp_path / "newer.onnx", make_manifest(name="newer"))
    config = build_config({"model": model, "backend": {"name": "onnxruntime"}})
    view = WebView(override(config, {"web.address": "127.0.0.1:0"}), read_manifest(Path(model)))
    picture = encode_image(barred(200, 72, 96), ".png")
    with view:
        address = view._server.url.replace("localhost", "127.0.0.1")
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:

            def said() -> tuple[str, str, str]:
                judged = client.post("/api/v1/score", content=picture).json()["model"]
                card, shown = (client.get(f"/api/v1/{of}").json() for of in ("model", "config"))
                return judged, card["name"], shown["model"]

            assert said() == ("fake", "fake", model)
            view.switched(read_manifest(newer), newer)
            assert said() == ("newer", "newer", str(newer))
            assert 'name="newer"' in client.get("/metrics").text


def test_what_cannot_be_served_is_a_sentence(tmp_path: Path) -> None:
    absent = {"address": "127.0.0.1:0", "certificate": "no.pem", "key": "no.pem"}
    with pytest.raises(SinkError, match="for TLS"):
        WebView(build_config({"web": absent}), make_manifest())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        view = WebView(build_config({"web": {"address": address}}), make_manifest())
        with pytest.raises(SinkError, match=f"cannot be served at {address}"), view:
            pass
