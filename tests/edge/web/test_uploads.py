from __future__ import annotations

import io
import random
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from edge.errors import SourceError
from edge.web.decode import Limits
from tests.edge.sources.clips import write_clip
from tests.edge.web.pages import Page, page
from tests.fakes import barred, wait_for


@pytest.fixture
def open_page(model: str) -> Iterator[Page]:
    with page(model, web={"upload_mb": 2}) as served:
        yield served


def picture(kind: str = "JPEG", size: tuple[int, int] = (96, 72), value: int = 200) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(barred(value, size[1], size[0])).save(file, kind)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_bomb(width: int, height: int, rows: int) -> bytes:
    """A PNG that announces a size, with rows of zeros."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b"\0" * (3 * width + 1)) for _ in range(rows))
    body = chunk(b"IHDR", head) + chunk(b"IDAT", data + packer.flush()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>'
HOSTILE = {
    "empty": (b"", 415),
    "svg": (SVG, 415),
    "html": (b"<html><script>alert(1)</script>", 415),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415),
    "concat": (b"ffconcat version 1.0\nfile /etc/passwd\n", 415),
    "program": (b"\x7fELF" + bytes(300), 415),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", 415),
    "zip": (b"PK\x03\x04" + bytes(300), 415),
    "truncated": (picture()[:400], 422),
    "truncated png": (picture("PNG")[:120], 422),
    "noise after a mark": (b"\xff\xd8\xff" + random.Random(0).randbytes(4000), 422),
    "mp4 of nothing": (b"\0\0\0\x18ftypisom" + bytes(200), 422),
    "mkv of noise": (b"\x1a\x45\xdf\xa3" + random.Random(0).randbytes(4000), 422),
    "too many pixels": (png_bomb(60_000, 60_000, 1), 422),
    "bomb": (png_bomb(20_000, 20_000, 1000), 422),
    "one pixel high": (png_bomb(100_000, 1, 1), 422),
    "a pixel": (picture("PNG", (1, 1)), 422),
    "too large": (b"\xff\xd8\xff" + bytes(3_000_000), 413),
}


def long_gif(side: int, count: int) -> bytes:
    """An animation of flat squares: small to send, long to decode."""
    file = io.BytesIO()
    Pillow.new("P", (side, side)).save(file, "GIF")
    data = file.getvalue()
    head = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:head] + data[head:-1] * count + b";"


def test_a_hostile_upload_is_refused_with_a_sentence(open_page: Page) -> None:
    memory = psutil.Process().memory_info
    assert open_page.client.post("/api/v1/score", content=picture()).status_code == 200
    for name, (data, status) in HOSTILE.items():
        before = memory().rss
        answer = open_page.client.post("/api/v1/score", content=data)
        assert answer.status_code == status, (name, answer.text)
        assert len(answer.json()["detail"]) > 10 and "Traceback" not in answer.text, name
        assert memory().rss - before < 60e6, name
        assert open_page.client.get("/healthz").status_code == 200


def test_a_body_without_a_length_is_cut_off_too(open_page: Page) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 200e6:
            sent += 1 << 16
            yield b"\xff\xd8\xff" + bytes((1 << 16) - 3)

    assert open_page.client.post("/api/v1/score", content=endless()).status_code == 413
    assert sent < 50e6


def test_a_body_that_does_not_come_keeps_no_place(
    open_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.web.app._RECEIVE_S", 0.2)
    address = open_page.client.base_url.host, open_page.client.base_url.port
    with ExitStack() as stack:
        for _ in range(4):
            slow = stack.enter_context(socket.create_connection(address))
            slow.sendall(b"POST /api/v1/score HTTP/1.1\r\nHost: localhost\r\n")
            slow.sendall(b"Content-Length: 1000\r\n\r\n\xff\xd8")
        assert b" 408 " in slow.recv(200)
        assert open_page.client.post("/api/v1/score", content=picture()).status_code == 200


def test_a_polyglot_is_the_picture_that_it_begins_with(open_page: Page) -> None:
    answer = open_page.client.post("/api/v1/score", content=picture() + SVG)
    assert answer.status_code in (200, 422)


def test_what_a_file_says_of_itself_stands_beside_the_verdict(open_page: Page) -> None:
    text = PngInfo()
    text.add_text("parameters", "a cat on a chair, Steps: 20, Sampler: Euler, CFG scale: 7")
    file = io.BytesIO()
    Pillow.fromarray(barred(60, 72, 96)).save(file, "PNG", pnginfo=text)
    score = open_page.client.post("/api/v1/score", content=file.getvalue()).json()
    assert score["verdict"] == "real" and score["heat"] == score["plain"]
    assert {claim["surety"] for claim in score["claims"]} == {"unsigned"}
    assert "generated" in {claim["kind"] for claim in score["claims"]}


def test_a_picture_gets_a_verdict_whatever_its_format(open_page: Page) -> None:
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        score = open_page.client.post("/api/v1/score", content=picture(kind)).json()
        assert (score["kind"], score["verdict"], score["model"]) == ("picture", "fake", "fake")
        assert (score["width"], score["height"]) == (96, 72), kind
        assert score["plain"].startswith("data:image/jpeg;base64,")
        assert score["heat"] != score["plain"], kind


def test_a_clip_gets_a_verdict_with_its_length(open_page: Page, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 50, (96, 64))
    score = open_page.client.post("/api/v1/score", content=clip.read_bytes()).json()
    assert score["kind"] == "clip" and score["verdict"] in ("fake", "real", "uncertain")
    assert 1 < score["seconds"] < 3 and score["stretches"] is not None


def test_of_a_clip_the_first_minutes_are_scored(model: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 90, (96, 64))
    with page(model, limits=Limits(clip_s=1.0)) as served:
        score = served.client.post("/api/v1/score", content=clip.read_bytes()).json()
    assert 0.5 < score["seconds"] <= 1.2


LIMITS = {
    "computing": (Limits(cpu_s=1), long_gif(1000, 900), None),
    "memory": (Limits(memory=400 << 20), png_bomb(8000, 5000, 5000), picture("PNG")),
    "pixels": (Limits(pixels=10_000), picture("PNG", (101, 100)), picture("PNG", (100, 100))),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_decoder_is_kept_within_its_limits(model: str, name: str) -> None:
    limits, too_much, enough = LIMITS[name]
    with page(model, limits=limits) as served:
        refused = served.client.post("/api/v1/score", content=too_much)
        assert refused.status_code == 422, refused.text
        words = "million pixels" if name == "pixels" else "too much memory"
        assert words in refused.json()["detail"]
        if enough is not None:
            assert served.client.post("/api/v1/score", content=enough).status_code == 200


def test_a_decoder_that_says_nothing_is_not_waited_for(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    with page(model, limits=Limits(wait_s=0.05)) as served:
        monkeypatch.setattr("sys.executable", str(silent))
        refused = served.client.post("/api/v1/score", content=picture("PNG"))
    assert refused.status_code == 422 and "too much memory" in refused.json()["detail"]


def test_a_decoder_that_was_killed_is_no_end_of_the_clip(open_page: Page, tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    path.write_bytes(long_gif(500, 60))
    scorer = open_page.served.scorer
    with scorer._decoding(path) as source:
        frames = iter(source)
        next(frames)
        assert scorer._decoder is not None
        scorer._decoder.kill()
        with pytest.raises(SourceError, match="cannot be decoded"):
            list(frames)


def test_what_is_no_fault_of_the_upload_is_503_and_a_line_in_the_log(
    open_page: Page, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path(model).write_bytes(b"overwritten")
    answer = open_page.client.post("/api/v1/score", content=picture())
    assert answer.status_code == 503 and "the log" in answer.json()["detail"]
    (line,) = (r for r in caplog.records if r.name == "edge.web.app")
    assert line.levelname == "WARNING" and model in line.getMessage()


def test_nothing_of_a_page_is_left_when_it_ends_while_it_scores(
    model: str,
) -> None:
    process, answers = psutil.Process(), list[int]()
    before = process.children()
    with page(model) as served:

        def send() -> None:
            with suppress(httpx.HTTPError):
                data = long_gif(1000, 900)
                answers.append(served.client.post("/api/v1/score", content=data).status_code)

        sending = threading.Thread(target=send)
        sending.start()
        wait_for(lambda: process.children() != before)
    sending.join()
    assert process.children() == before and 200 not in answers
    left = {thread.name for thread in threading.enumerate()}
    assert not {name for name in left if name.startswith("patchwatch")}


def test_nothing_of_an_upload_is_left(
    open_page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert open_page.client.post("/api/v1/score", content=picture()).status_code == 200
    assert open_page.client.post("/api/v1/score", content=picture()[:300]).status_code == 422
    assert [path for path in tmp_path.iterdir() if path.name.startswith("patchwatch-")] == []


def test_uploads_are_limited_in_rate_and_number(open_page: Page) -> None:
    answers: list[int] = []

    def send() -> None:
        answers.append(open_page.client.post("/api/v1/score", content=picture()).status_code)

    threads = [threading.Thread(target=send) for _ in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {200, 429, 503}
