from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow

from edge.sinks.incidents import IncidentStore
from edge.types import Picture, Result
from edge.web import hub as hub_module
from edge.web.hub import CameraState
from tests.edge.web.pages import TOKEN, Page, page
from tests.fakes import barred, wait_for


@pytest.fixture
def door(model: str) -> Iterator[Page]:
    with page(model, "Front door") as served:
        yield served


def parts(response: httpx.Response, count: int) -> list[bytes]:
    """The first pictures of a motion JPEG."""
    data, found = b"", list[bytes]()
    for chunk in response.iter_raw():
        data += chunk
        while b"\r\n\r\n" in data:
            head, _, rest = data.partition(b"\r\n\r\n")
            size = int(head.rpartition(b"Content-Length: ")[2])
            if len(rest) < size + 2:
                break
            found.append(rest[:size])
            data = rest[size + 2 :]
        if len(found) >= count:
            return found
    return found


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def test_a_camera_has_its_newest_result_history_and_pictures(door: Page) -> None:
    assert door.client.get("/api/v1/cameras/Front-door/snapshot").status_code == 404
    door.add("Front door")
    door.add("Front door", "fake", 0.9)
    (camera,) = door.client.get("/api/v1/cameras").json()
    assert (camera["id"], camera["name"], camera["alive"]) == ("Front-door", "Front door", True)
    assert (camera["result"]["verdict"], camera["result"]["score"]) == ("fake", 0.9)
    assert camera == door.client.get("/api/v1/cameras/Front-door").json()
    history = door.client.get("/api/v1/cameras/Front-door/history").json()
    assert [point[1:] for point in history] == [[0.2, "real"], [0.9, "fake"]]
    shown = {
        layer: door.client.get(f"/api/v1/cameras/Front-door/snapshot?layer={layer}").content
        for layer in ("plain", "overlay")
    }
    assert shown["plain"] != shown["overlay"]
    assert Pillow.open(io.BytesIO(shown["plain"])).size == (96, 72)
    assert door.client.get("/api/v1/cameras/cellar").status_code == 404


def test_a_wide_picture_is_reduced(model: str) -> None:
    with page(model, "door", web={"width": 160}) as served:
        served.add("door", image=barred(90, 300, 400))
        data = served.client.get("/api/v1/cameras/door/snapshot?layer=overlay").content
        assert Pillow.open(io.BytesIO(data)).size == (160, 120)


def test_the_live_picture_moves_and_ends_with_the_camera(door: Page) -> None:
    door.add("Front door")
    with door.client.stream("GET", "/api/v1/cameras/Front-door/live?layer=plain") as live:
        assert live.headers["content-type"].startswith("multipart/x-mixed-replace")
        first = parts(live, 1)[0]
        assert Pillow.open(io.BytesIO(first)).getpixel((5, 5)) != (0, 0, 0)
    wait_for(lambda: door.hub.viewers == 0)
    with door.client.stream("GET", "/api/v1/cameras/Front-door/live?layer=plain") as live:
        chunks = live.iter_raw()
        next(chunks)
        door.add("Front door", image=barred(200, 72, 96))
        assert b"Content-Length" in next(chunks)
        door.hub.sources([])
        assert b"".join(chunks).count(b"--frame") <= 1


def test_a_picture_is_encoded_once_for_all_viewers(
    door: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = hub_module.encode_jpeg

    def counting(image: Any) -> bytes:
        encoded.append(1)
        return encode(image)

    monkeypatch.setattr(hub_module, "encode_jpeg", counting)
    door.add("Front door")

    def ask(_: int) -> bytes:
        return door.client.get("/api/v1/cameras/Front-door/snapshot?layer=heat").content

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(ask, range(40)))) == 1
    assert len(encoded) == 1


def test_a_picture_is_never_kept_for_a_newer_one(door: Page) -> None:
    class Racing(CameraState):
        """Gets a result right after it was asked for its newest."""

        late: tuple[Result, Picture] | None = None
        taken: tuple[Result, Picture] | None = None

        @property
        def newest(self) -> tuple[Result, Picture] | None:
            found, late, self.late = self.taken, self.late, None
            if late is not None:
                self.add(*late)
            return found

        @newest.setter
        def newest(self, given: tuple[Result, Picture] | None) -> None:
            self.taken = given

    camera = Racing("Front door", 1280)
    results = []
    for value in (60, 200):
        door.add("Front door", image=barred(value, 72, 96))
        results.append(door.hub.cameras["Front-door"].newest)
    old, camera.late = results
    assert old is not None
    camera.add(*old)

    async def asked() -> list[bytes | None]:
        return [await camera.jpeg("plain", door.hub.encoder) for _ in range(2)]

    first, second = asyncio.run(asked())
    assert first != second


def test_a_viewer_that_reads_nothing_keeps_nobody_from_the_newest(door: Page) -> None:
    address = door.client.base_url.host, door.client.base_url.port
    with socket.create_connection(address) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(b"GET /api/v1/cameras/Front-door/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        done = threading.Event()

        def deliver() -> None:
            while not done.wait(0.01):
                door.add("Front door", image=barred(90, 300, 400))

        feeding = threading.Thread(target=deliver)
        feeding.start()
        try:
            wait_for(lambda: door.hub.viewers == 1)
            with door.client.stream("GET", "/api/v1/cameras/Front-door/live") as live:
                assert len(parts(live, 8)) >= 8
        finally:
            done.set()
            feeding.join()


def test_results_come_as_events_and_a_dead_camera_says_why(door: Page) -> None:
    door.add("Front door")
    with door.client.stream("GET", "/api/v1/events") as stream:
        said = events(stream)
        assert next(said) == ("order", ["Front-door"])
        name, (camera,) = next(said)
        assert (name, camera["result"]["verdict"], camera["alive"]) == ("cameras", "real", True)
        door.add("Front door", "no_signal")
        _, (camera,) = next(said)
        assert (camera["alive"], camera["result"]["error"]) == (False, "the cable is out")


def test_ready_is_a_run_with_a_camera_that_gives_pictures(model: str) -> None:
    with page(model) as served:
        ask = served.client.get
        assert (ask("/healthz").status_code, ask("/readyz").status_code) == (200, 503)
        served.hub.sources(["door", "yard"])
        assert ask("/readyz").status_code == 503
        served.add("door")
        served.add("yard", "no_signal")
        assert ask("/readyz").status_code == 200
        served.add("door", "no_signal")
        assert ask("/readyz").json() == {"status": "no camera gives a picture"}
        served.add("door")
        served.hub.state = "stopping"
        assert ask("/readyz").status_code == 503


def test_incidents_of_cameras_with_databases_of_their_own_stand_in_one_list(
    model: str, tmp_path: Path
) -> None:
    cameras = [
        {"name": "door", "source": "0"},
        {"name": "yard", "source": "1", "alerts": {"database": str(tmp_path / "own.db")}},
        {"name": "shed", "source": "2"},
    ]
    alerts = {"database": str(tmp_path / "{camera}.db")}
    with page(model, cameras=cameras, alerts=alerts) as served:
        for number, name in enumerate(["door", "own", "shed"] * 3):
            store = IncidentStore(tmp_path / f"{name}.db")
            store.check()
            key = f"{number:02}"
            store.put({"id": key, "source": name, "began": float(number // 2)}, key.encode())
        ask, seen = served.client.get, list[str]()
        query: dict[str, Any] = {"limit": 2}
        while query:
            found = ask("/api/v1/incidents", params=query).json()
            seen += [incident["id"] for incident in found["incidents"]]
            query = found["next"] and {"limit": 2, "before": found["next"]}
        assert seen == [f"{number:02}" for number in range(8, -1, -1)]
        assert ask(f"/api/v1/incidents/{seen[4]}").json()["source"] == "own"
        assert ask(f"/api/v1/incidents/{seen[4]}/snapshot").content == seen[4].encode()
        for path in ("/api/v1/incidents/x", "/api/v1/incidents/x/snapshot"):
            assert ask(path).status_code == 404
        (tmp_path / "own.db").write_text("it was overwritten by something else " * 99)
        assert ask("/api/v1/incidents").status_code == 503
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["door.db", "own.db", "shed.db"]


def test_the_configuration_has_no_secret(model: str) -> None:
    cameras = [{"name": "door", "source": "rtsp://joe:hunter2@camera/x?token=hunter2"}]
    models = {"url": "https://joe:hunter2@models.local/", "root": "root.json"}
    with page(model, "door", cameras=cameras, models=models) as served:
        text = served.client.get("/api/v1/config").text
        assert "hunter2" not in text and "rtsp://***@camera/x" in text
        assert served.client.get("/api/v1/model").json()["name"] == "fake"


SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def routes(served: Page) -> list[tuple[str, str]]:
    spec = served.client.get("/api/v1/openapi.json").json()
    found = [(method.upper(), path) for path, item in spec["paths"].items() for method in item]
    pages = ("/", "/picture", "/static/live.js", "/metrics", "/api/v1/openapi.json", "/nothing")
    return found + [("GET", path) for path in pages]


def test_without_the_token_every_route_but_health_is_refused(model: str) -> None:
    with page(model, "door", token=TOKEN) as served:
        served.add("door")
        base = str(served.client.base_url)
        found = routes(served)
        assert len(found) > 15
        for method, path in found:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "patchwatch=wrong"}):
                answer = httpx.request(method, base + path, headers=headers, trust_env=False)
                expected = 200 if path in ("/healthz", "/readyz") else 401
                assert answer.status_code == expected, (method, path)
                assert answer.headers.items() >= SAFE.items()
                assert TOKEN not in answer.text
        assert served.client.get("/api/v1/cameras").status_code == 200


def test_a_browser_gives_the_token_once_and_keeps_a_cookie_that_is_not_it(model: str) -> None:
    with page(model, "door", token=TOKEN) as served:
        base = str(served.client.base_url)
        with httpx.Client(base_url=base, trust_env=False) as browser:
            asked = browser.get("/")
            assert asked.status_code == 401 and 'type="password"' in asked.text
            assert browser.post("/login", data={"token": "wrong"}).status_code == 401
            done = browser.post("/login", data={"token": TOKEN})
            assert (done.status_code, done.headers["location"]) == (303, "/")
            cookie = done.headers["set-cookie"].lower()
            assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
            assert browser.get("/").status_code == 200
            long = browser.post("/login", content=b"token=" + b"x" * 100_000)
            assert long.status_code == 413
            tries = [browser.post("/login", data={"token": "x"}).status_code for _ in range(12)]
            assert tries[-1] == 429


def test_other_sites_and_other_names_are_refused(door: Page) -> None:
    post = door.client.post
    foreign = {"Origin": "http://evil.example"}
    assert post("/api/v1/score", content=b"x", headers=foreign).status_code == 403
    assert post("/api/v1/score", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert door.client.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert door.client.get("/", headers={"Host": "localhost:1"}).status_code == 200


def test_figures_are_labelled_by_camera(door: Page) -> None:
    door.add("Front door", "fake", 0.9)
    text = door.client.get("/metrics").text
    assert 'patchwatch_score{camera="Front door"} 0.9' in text
    assert 'patchwatch_verdict{camera="Front door",state="fake"} 1.0' in text
    assert 'patchwatch_latency_seconds_count{camera="Front door",stage="model"} 1.0' in text
    assert 'patchwatch_age_seconds_bucket{camera="Front door",le="0.025"} 1.0' in text
    assert 'patchwatch_model_info{architecture="tiny_ladeda",name="fake"' in text


def test_pages_ask_for_nothing_that_is_not_served_here(door: Page) -> None:
    static = Path(hub_module.__file__).parent / "static"
    for file in static.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text, file.name
        assert door.client.get(f"/static/{file.name}").status_code == 200
    assert door.client.get("/static/..%2fapp.py").status_code == 404
