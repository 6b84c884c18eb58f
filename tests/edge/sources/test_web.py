"""Files on a web server: pictures are fetched, and what is none is said."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import AuthError, NetworkError, NotFound, SourceError
from edge.sources import open_source
from edge.sources.containers import foreign
from edge.sources.images import read_image
from edge.sources.live import LiveSource
from edge.sources.policy import Limits
from edge.sources.streams import open_stream
from edge.sources.web import WebPicture
from edge.types import Image
from patchwatch import main
from tests.edge.commands.test_run import write_clip
from tests.fakes import barred
from tests.servers import free_port, http_files, tcp_server

PAGE = b"\xef\xbb\xbf<!-- a site --> <!DOCTYPE html><html><body>film</body></html>"


def noise(seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8)


PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    cv2.imwrite(str(tmp_path / "p.png"), barred(250))
    write_clip(tmp_path / "clip.mp4", [barred(5)] * 12)
    for name in ("page", "page.jpg"):
        (tmp_path / name).write_bytes(PAGE)
    (tmp_path / "text.pdf").write_bytes(PDF)
    with http_files(tmp_path) as found:
        yield found


def test_a_picture_is_fetched_whole(tmp_path: Path, address: str) -> None:
    source = open_source(f"{address}/p.png?size=1")
    assert isinstance(source, WebPicture)
    with source:
        (frame,) = source
    assert np.array_equal(frame.image, read_image(tmp_path / "p.png"))
    assert frame.source == source.name and source.kind == "stills"


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("none.png", NotFound, "404"),
        ("none.mp4", NotFound, "404"),
        ("page", SourceError, "a web page.*yt-dlp"),
        ("page.jpg", SourceError, "page.jpg: a web page"),
        ("text.pdf", SourceError, "a PDF document.*pdftoppm"),
    ],
)
def test_what_is_no_file_of_pixels_ends_at_once(
    address: str, path: str, kind: type[SourceError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        found = open_source(f"{address}/{path}")
        assert not isinstance(found, LiveSource)
        with found:
            list(found)


def test_what_may_be_a_stream_is_opened_again(address: str) -> None:
    for path in ("none", "none.mjpg"):
        assert isinstance(open_source(f"{address}/{path}"), LiveSource)


def test_score_takes_addresses(
    tmp_path: Path, address: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{address}/{name}" for name in ("p.png", "clip.mp4", "page", "none")]
    names.append("rtsp://127.0.0.1:1/x")
    assert main(["score", *names, "--model", model, "--format", "json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["source"] for line in lines] == names
    assert [line["verdict"] for line in lines] == ["fake", "real", None, None, None]
    assert "a web page" in lines[2]["error"] and "(404)" in lines[3]["error"]
    assert "patchwatch run" in lines[4]["error"]
    for name in ("p.png", "clip.mp4"):
        assert main(["score", str(tmp_path / name), "--model", model, "--format", "json"]) == 0
    alone = [json.loads(line)["logit"] for line in capsys.readouterr().out.splitlines()]
    assert alone == [line["logit"] for line in lines[:2]]


@pytest.mark.parametrize("name", ["a.pdf", "a.jpg", "a.mp4", "a"])
def test_files_on_disk_are_named_for_what_they_are(
    tmp_path: Path, name: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for content, what in ((PAGE, "a web page"), (PDF, "a PDF document")):
        (tmp_path / name).write_bytes(content)
        assert main(["score", str(tmp_path / name), "--model", model]) == 1
        assert f"{name}: {what}" in capsys.readouterr().out
    assert foreign(b"<svg>") is None and foreign(b"") is None


def _answering(answer: bytes) -> Callable[[socket.socket], None]:
    def talk(client: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked and (more := client.recv(65536)):
            asked += more
        client.sendall(answer)

    return talk


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", "nothing.*204"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "nothing.*0 bytes"),
        (b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(range(200)) * 9, "is not HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: /film\r\nContent-Length: 0\r\n\r\n", "in a loop"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
            "file://, which is not",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/x\r\n\r\n",
            "https://127.0.0.1:1/x,",
        ),
    ],
)
def test_an_answer_that_is_no_film_is_named(answer: bytes, words: str) -> None:
    with tcp_server(_answering(answer)) as port, pytest.raises(SourceError, match=words) as caught:
        open_stream(f"http://me:hidden@127.0.0.1:{port}/film", Limits(), name="door")
    assert str(caught.value).startswith("door: ") and "hidden" not in str(caught.value)


def test_a_film_whose_index_is_last_needs_byte_ranges(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "clip.mp4", [noise(i) for i in range(40)]).read_bytes()
    assert data.index(b"moov") > data.index(b"mdat")
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    refused = pytest.raises(SourceError, match=r"no byte ranges.*index")
    with tcp_server(_answering(head.encode() + data)) as port, refused:
        found = open_source(f"http://127.0.0.1:{port}/film.mp4")
        assert not isinstance(found, LiveSource)
        with found:
            list(found)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_an_address_of_single_pictures_is_asked_again_and_again(kind: str) -> None:
    picture = cv2.imencode(kind, noise(3))[1].tobytes()
    asked: list[None] = []

    def talk(client: socket.socket) -> None:
        asked.append(None)
        head = (
            f"Content-Length: {len(picture)}\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
        )
        _answering(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + picture)(client)

    with tcp_server(talk) as port:
        url = f"http://127.0.0.1:{port}/now{kind}"
        assert isinstance(open_source(url), WebPicture)
        assert isinstance(open_source(url, loop=True), LiveSource)
        capture = open_stream(url, Limits(), name="door")
        before = len(asked)
        shots = [capture.read() for _ in range(2)]
        capture.close()
    assert len(asked) == before + 2
    assert all(shot is not None and shot.image().shape == noise(3).shape for shot in shots)


CHALLENGES = {
    "Basic": 'Basic realm="camera"',
    "Digest": 'Digest realm="camera", nonce="abc", algorithm=MD5',
}


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def proves(given: str | None, path: str) -> bool:
    """Whether a header proves that its sender knows me:secret."""
    if (given or "").startswith("Digest"):
        parts = dict(re.findall(r'(\w+)="([^"]*)"', given or ""))
        user, asked = md5("me:camera:secret"), md5(f"GET:{path}")
        return bool(parts["response"] == md5(f"{user}:abc:{asked}"))
    return given == f"Basic {base64.b64encode(b'me:secret').decode()}"


@pytest.mark.parametrize("kind", CHALLENGES)
def test_a_login_is_given_to_the_server_that_asks_and_to_no_other(kind: str) -> None:
    heard: list[tuple[str, str | None]] = []
    picture = cv2.imencode(".png", barred(5))[1].tobytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers["Authorization"]
            heard.append((self.path, given))
            target = targets.get(self.path)
            known = proves(given, self.path)
            self.send_response(401 if not known else 302 if target else 200)
            if not known:
                self.send_header("WWW-Authenticate", CHALLENGES[kind])
            elif target:
                self.send_header("Location", target)
            self.end_headers()
            self.wfile.write(picture if known and not target else b"")

        def log_message(self, *words: object) -> None: ...

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for server in servers:
        server.daemon_threads = False  # so that closing it waits for them
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    targets = {"/a.png": "/b.png", "/away.png": f"http://127.0.0.1:{servers[1].server_port}/c.png"}
    address = f"http://me:s%65cret@127.0.0.1:{servers[0].server_port}"  # secret, escaped
    with WebPicture("p", f"{address}/a.png", 5) as source:
        assert len(list(source)) == 1
    with pytest.raises(AuthError), WebPicture("p", f"{address}/away.png", 5) as source:
        list(source)
    assert heard[0][1] is None and heard[-1] == ("/c.png", None)
    wrong = f"{address.replace('s%65cret', 'hidden')}/a.png"
    with pytest.raises(AuthError, match="401") as refused, WebPicture("p", wrong, 5) as source:
        list(source)
    assert "hidden" not in str(refused.value)
    for server in servers:
        server.shutdown()
        server.server_close()


def test_what_does_not_answer_or_not_in_http_is_said() -> None:
    with tcp_server(lambda client: client.sendall(b"TTP/1.1 200 OK\r\n\r\n")) as speaks_other:
        for port in (speaks_other, free_port()):
            with (
                pytest.raises(NetworkError, match="cannot be read"),
                WebPicture("p", f"http://127.0.0.1:{port}/p.png", 5) as source,
            ):
                list(source)
