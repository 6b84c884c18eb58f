"""Against a real broker: Mosquitto."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import ValidationError

from edge.config import build_config
from edge.errors import SinkError
from edge.sinks import make_sinks
from edge.sinks.base import Sink, SinkContext
from edge.sinks.mqtt import MqttOptions
from edge.types import Picture
from tests.edge.sinks.results import make_result, plain
from tests.edge.sources.clips import write_clip
from tests.fakes import make_manifest, wait_for
from tests.servers import free_port

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="needs the package mosquitto")
RED = plain(48, 64, (0, 0, 255))
NOW = 1_700_000_000.0


@contextmanager
def broker(folder: Path, port: int, *lines: str) -> Iterator[None]:
    config = folder / "mosquitto.conf"
    anonymous = "false" if any("password_file" in line for line in lines) else "true"
    first = (f"listener {port} 127.0.0.1", f"allow_anonymous {anonymous}", "user root")
    config.write_text("\n".join((*first, *lines)) + "\n")
    with (folder / "mosquitto.txt").open("w") as log:
        process = subprocess.Popen([MOSQUITTO or "", "-c", str(config)], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


class Listener:
    """Everything that is said, newest by topic."""

    def __init__(self, port: int, prepare: Any = lambda client: None) -> None:
        self.said: dict[str, list[bytes]] = {}
        self._client = Client(CallbackAPIVersion.VERSION2)
        prepare(self._client)
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.on_message = lambda client, _, m: self.said.setdefault(m.topic, []).append(
            bytes(m.payload)
        )
        self._client.connect_async("127.0.0.1", port)
        self._client.reconnect_delay_set(1, 1)
        self._client.loop_start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def newest(self, topic: str) -> bytes:
        wait_for(lambda: topic in self.said)
        return self.said[topic][-1]

    def json(self, topic: str) -> Any:
        return json.loads(self.newest(topic))


def make(port: int, camera: Any = "Front door", **options: Any) -> Any:
    keys = {"host": "127.0.0.1", "port": port, "debounce_s": 0, "cooldown_s": 0, **options}
    config = build_config({"source": "0", "sinks": {"mqtt": keys}})
    (sink,) = make_sinks(config, SinkContext(camera, model=make_manifest()))
    return sink


def give(sink: Sink, *states: Any, model: str = "fake") -> None:
    for second, state in enumerate(states):
        result = make_result(RED, second, "door", NOW + second, None, state, model)
        sink.write(result, Picture.of(RED))


@needs_broker
def test_state_events_snapshot_and_what_home_assistant_reads(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), Listener(port) as listener:
        with make(port) as sink:
            assert listener.newest("patchwatch/Front-door/availability") == b"online"
            give(sink, "fake")
            state = listener.json("patchwatch/Front-door/state")
            assert (state["verdict"], state["score"], state["time"]) == ("fake", 0.25, NOW)
            assert listener.newest("patchwatch/Front-door/snapshot").startswith(b"\xff\xd8\xff")
            raised = listener.json("patchwatch/Front-door/event")
            assert (raised["source"], raised["ended"]) == ("Front door", None)
            give(sink, "real")
            wait_for(lambda: len(listener.said["patchwatch/Front-door/event"]) == 2)
            assert listener.json("patchwatch/Front-door/event")["id"] == raised["id"]
            name = "homeassistant/sensor/patchwatch_Front-door/verdict/config"
            found = listener.json(name)
            assert found["state_topic"] == "patchwatch/Front-door/state"
            assert found["availability_topic"] == "patchwatch/Front-door/availability"
            assert found["device"]["name"] == "Front door"
            kinds = {topic.split("/")[1] for topic in listener.said if topic.startswith("home")}
            assert kinds == {"sensor", "binary_sensor", "image"}
            assert found["device"]["model"] == "fake"
            give(sink, "real", model="newer")
            wait_for(lambda: listener.json(name)["device"]["model"] == "newer")
        wait_for(lambda: listener.newest("patchwatch/Front-door/availability") == b"offline")


@needs_broker
def test_a_state_is_sent_again_once_it_is_old_and_what_lasts_is_over_at_the_end(
    tmp_path: Path,
) -> None:
    port = free_port()
    with broker(tmp_path, port), Listener(port) as listener:
        for every_s, sent in ((3600.0, 1), (1e-9, 4)):
            listener.said.clear()
            with make(port, every_s=every_s) as sink:
                assert listener.newest("patchwatch/Front-door/availability") == b"online"
                give(sink, "fake", "fake", "fake", "fake")
                raised = listener.json("patchwatch/Front-door/event")
                assert raised["ended"] is None
            wait_for(lambda: listener.newest("patchwatch/Front-door/availability") == b"offline")
            assert len(listener.said["patchwatch/Front-door/state"]) == sent
            over = listener.json("patchwatch/Front-door/event")
            assert (over["id"], over["ended"]) == (raised["id"], NOW + 3)


def test_ids_for_home_assistant_are_valid_and_each_camera_has_its_own() -> None:
    cameras = ["Front door", "Hof", "Höf", "Hôf", "玄関", "裏口", "East/1", "East.1", "a b c", "-"]
    seen = set[str]()
    for camera, options in [(name, {}) for name in cameras] + [("Hof", {"topic": "boards/2"})]:
        for topic, record in make(free_port(), camera, **options)._announcements():
            _, kind, node, name, last = topic.split("/")
            assert (kind in ("sensor", "binary_sensor", "image")) and last == "config"
            for each in (node, name, record["unique_id"]):
                assert re.fullmatch("[a-zA-Z0-9_-]+", each), each
            seen |= {topic, record["unique_id"]}
    assert len(seen) == 2 * 4 * (len(cameras) + 1)


@needs_broker
def test_a_broker_that_comes_late_or_again_gets_the_state_and_waiting_events(
    tmp_path: Path,
) -> None:
    port = free_port()
    with make(port) as sink:
        give(sink, "fake", "real")
        with broker(tmp_path, port), Listener(port) as listener:
            assert listener.json("patchwatch/Front-door/state")["verdict"] == "real"
            wait_for(lambda: len(listener.said.get("patchwatch/Front-door/event", ())) == 2)
            assert listener.newest("patchwatch/Front-door/availability") == b"online"


def test_what_waits_for_a_broker_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    with make(free_port(), queue=3, snapshot=False) as sink:
        give(sink, *["fake", "real"] * 5)
    assert caplog.text.count("the broker takes too little; events are lost") == 1


def test_a_broker_that_cannot_be_reached_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    sink = make(free_port())
    for _ in range(3):
        sink._failed(None, None)
    assert caplog.text.count("cannot be reached; it is tried again") == 1


@needs_broker
def test_password_and_tls_are_used_and_the_password_is_said_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if shutil.which("openssl") is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("needs openssl and mosquitto_passwd")
    words = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
    words += " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    command = ["openssl", *words.split()]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", "users", "joe", "hunter2"], cwd=tmp_path, check=True
    )
    port = free_port()
    lines = [
        f"{key} {tmp_path / file}"
        for key, file in (
            ("password_file", "users"),
            ("certfile", "cert.pem"),
            ("keyfile", "key.pem"),
        )
    ]
    certificate = tmp_path / "cert.pem"

    def prepare(client: Client) -> None:
        client.username_pw_set("joe", "hunter2")
        client.tls_set(str(certificate))

    keys = {"tls": True, "ca_file": str(certificate), "username": "joe"}
    monkeypatch.setenv("PATCHWATCH_MQTT_PASSWORD", "hunter2")
    with broker(tmp_path, port, *lines), Listener(port, prepare) as listener:
        with make(port, **keys) as sink:
            give(sink, "real")
            assert listener.json("patchwatch/Front-door/state")["verdict"] == "real"
        with make(port, **keys, password="hunter3"):
            wait_for(lambda: "the broker refuses" in caplog.text)
    assert "hunter" not in caplog.text + repr(sink._options)
    with pytest.raises(SinkError, match=r"no\.pem cannot be read"):
        make(port, tls=True, ca_file=str(tmp_path / "no.pem")).check()


@needs_broker
def test_a_run_that_is_killed_is_offline_by_its_last_will(tmp_path: Path, model: str) -> None:
    port = free_port()
    write_clip(tmp_path / "clip.mp4", 50, (96, 64))
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump(
            {
                "model": model,
                "source": "clip.mp4",
                "capture": {"loop": True},
                "sinks": {"mqtt": {"host": "127.0.0.1", "port": port}},
            }
        )
    )
    with ExitStack() as stack:
        stack.enter_context(broker(tmp_path, port))
        listener = stack.enter_context(Listener(port))
        command = [sys.executable, "-m", "patchwatch", "run", "--config", "run.yaml", "--headless"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            assert listener.newest("patchwatch/clip/availability") == b"online"
            listener.newest("patchwatch/clip/state")
        finally:
            process.kill()
            process.wait()
        wait_for(lambda: listener.newest("patchwatch/clip/availability") == b"offline")


def test_an_address_is_no_name_of_a_broker() -> None:
    for host in ("mqtt://joe:secret@h", "h/x", "joe@h", ""):
        with pytest.raises(ValidationError):
            MqttOptions(host=host)
    assert MqttOptions(host="[::1]").host == "[::1]"
