"""Bytes that nobody meant: whatever is read ends in what it is, or in one sentence.

`make fuzz` tries many more, and `PATCHWATCH_FUZZ=100000` as many as that.
"""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from edge.config import RunConfig, load_config
from edge.errors import ConfigError, ModelError, SourceError
from edge.manifest import Manifest, read_manifest
from edge.sources.images import read_image
from edge.sources.policy import Limits
from edge.sources.streams import open_stream
from tests.edge.sources.clips import jpeg
from tests.fakes import barred, make_manifest
from tests.onnx_files import write_model
from tests.servers import tcp_server

MANY = int(os.environ.get("PATCHWATCH_FUZZ", "0"))
MOST_MB = 700
CONFIGS = Path(__file__).parents[1] / "configs"
SHORT = Limits(open_s=2.0, read_s=1.0)


def tries(few: int, share: float = 1.0) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples, or that share of those that were asked for."""
    return settings(
        max_examples=max(few, round(MANY * share)),
        deadline=None,
        derandomize=not MANY,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def bounded() -> Iterator[None]:
    """Check that the most memory that this process ever had does not grow far."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MB * 1024


def saved(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = PillowImage.fromarray(barred(120, 40, 56))
    image.save(buffer, form, **options)
    return buffer.getvalue()


STILLS = {
    "png": saved("PNG"),
    "apng.png": saved("PNG", save_all=True, append_images=[PillowImage.new("RGB", (56, 40))] * 2),
    "jpg": saved("JPEG"),
    "progressive.jpg": saved("JPEG", progressive=True),
    "gif": saved("GIF", save_all=True, append_images=[PillowImage.new("RGB", (56, 40))] * 2),
    "webp": saved("WEBP", lossless=True),
    "bmp": saved("BMP"),
    "tif": saved("TIFF", compression="tiff_lzw"),
    "ppm": saved("PPM"),
    "jp2": saved("JPEG2000"),
}

Edit = tuple[float, bytes, int]
"""Where, as a share of the length; what is written there; how many bytes it replaces."""
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.binary(max_size=12), st.integers(0, 40)), min_size=1, max_size=6
)


def edited(data: bytes, edits: list[Edit]) -> bytes:
    for share, new, replaced in edits:
        at = int(share * len(data))
        data = data[:at] + new + data[at + replaced :]
    return data


def read_still(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{name}"
        path.write_bytes(data)
        try:
            image = read_image(path)
        except SourceError as error:
            assert str(path) in str(error)
            return
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size


@tries(200)
@given(st.sampled_from(sorted(STILLS)), EDITS)
def test_a_still(name: str, edits: list[Edit]) -> None:
    with bounded():
        read_still(name, edited(STILLS[name], edits))


@tries(60)
@given(st.sampled_from(sorted(STILLS)), st.binary(max_size=300))
def test_a_still_of_anything(name: str, data: bytes) -> None:
    with bounded():
        read_still(name, STILLS[name][:12] + data)


def check_model(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        try:
            manifest = read_manifest(path)
        except ModelError as error:
            assert str(path) in str(error)
            return
        assert isinstance(manifest, Manifest)


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_model(tmp_path_factory.mktemp("fuzz") / "m.onnx").read_bytes()


@tries(150)
@given(edits=EDITS)
def test_a_manifest_in_its_file(model_bytes: bytes, edits: list[Edit]) -> None:
    with bounded():
        check_model(edited(model_bytes, edits))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@tries(100)
@given(st.sampled_from(sorted(Manifest.model_fields)), JSON)
def test_a_manifest_with_any_value(key: str, value: object) -> None:
    fields = json.loads(make_manifest().to_json()) | {key: value}
    with tempfile.TemporaryDirectory() as folder:
        check_model(write_model(Path(folder) / "m.onnx", json.dumps(fields)).read_bytes())


def check_config(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_bytes(text)
        try:
            config = load_config(path, {})
        except ConfigError as error:
            assert str(path) in str(error)
            return
        assert isinstance(config, RunConfig)


SAMPLES = sorted(CONFIGS.glob("*.yaml"))


@tries(150)
@given(st.sampled_from(SAMPLES), EDITS)
def test_a_configuration(sample: Path, edits: list[Edit]) -> None:
    with bounded():
        check_config(edited(sample.read_bytes(), edits))


@tries(100)
@given(st.sampled_from(sorted(RunConfig.model_fields)), JSON)
def test_a_configuration_with_any_value(key: str, value: object) -> None:
    with bounded():
        check_config(yaml.safe_dump({key: value}).encode())


PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
PICTURE = jpeg(3)
ANSWERS = {
    "motion JPEG": b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n"
    b"\r\n" + (PART % len(PICTURE) + PICTURE + b"\r\n") * 3,
    "a picture": b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    % len(PICTURE)
    + PICTURE,
    "a list": b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\n\r\n"
    b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "elsewhere": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
}


@tries(30, 0.05)
@given(st.sampled_from(sorted(ANSWERS)), EDITS)
def test_an_answer_of_a_web_server(name: str, edits: list[Edit]) -> None:
    answer = edited(ANSWERS[name], edits)

    def talk(client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(answer)

    with bounded(), tcp_server(talk) as port:
        try:
            capture = open_stream(f"http://127.0.0.1:{port}/stream", SHORT, name="fuzz")
        except SourceError as error:
            assert str(error).startswith("fuzz: ")
            return
        try:
            for _ in range(3):
                shot = capture.read()
                assert shot is None or shot.image().shape[2] == 3
        except SourceError as error:
            assert str(error)
        finally:
            capture.close()
