"""Verdicts and incidents for an MQTT broker; Home Assistant finds the cameras by itself.

{topic}/{camera}/availability    online, or offline (the last will, too); retained
{topic}/{camera}/state           verdict, score, reason; retained, when it changes or is old
{topic}/{camera}/event           an incident when it is raised and when it is over
{topic}/{camera}/snapshot        the annotated picture of the newest incident, JPEG; retained
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import ssl
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr
from typing_extensions import Self

from edge.decision.alerts import AlertSettings
from edge.errors import MissingDependency, SinkError
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.feed import EventFeed
from edge.sinks.images import encode_image
from edge.sinks.paths import file_stem
from edge.types import Picture, Result, State

log = logging.getLogger(__name__)

_PASSWORD = "PATCHWATCH_MQTT_PASSWORD"
_LEAVE_S = 1.0
_KEEP_ALIVE_S = 30
_QUEUE_FULL = 15  # MQTT_ERR_QUEUE_SIZE, which is known without the library


def _host(text: str) -> str:
    if not re.fullmatch(r"[^\s/@]+", text):
        raise ValueError("expected a name or a number, such as broker.local, and no address.")
    return text


def _topic(text: str) -> str:
    if not text or set(text) & set("#+\0"):
        raise ValueError(f"expected a topic without # and +, found {text!r}.")
    return text


Topic = Annotated[str, AfterValidator(_topic)]


class MqttOptions(AlertSettings):
    """How the broker is reached, what is sent to it, and which verdicts are incidents."""

    host: Annotated[str, AfterValidator(_host)] = Field(
        description="Of the broker: its name or number, not an address."
    )
    port: int | None = Field(default=None, gt=0, lt=65536, description="null: 1883, 8883 with TLS.")
    username: str | None = Field(default=None, description="null for none.")
    password: SecretStr | None = Field(
        default=None, description="As ${NAME}; null for PATCHWATCH_MQTT_PASSWORD, if it is set."
    )
    tls: bool = Field(default=False, description="Encrypt, and check the broker's certificate.")
    ca_file: Path | None = Field(default=None, description="Of the broker's authority, PEM.")
    topic: Topic = Field(default="patchwatch", description="All begin so.")
    discovery: Topic | None = Field(
        default="homeassistant", description="Its prefix; null for none."
    )
    snapshot: bool = Field(default=True, description="Send the picture of an incident.")
    every_s: float = Field(default=10.0, gt=0, description="Send a state that is so old again.")
    queue: int = Field(default=100, gt=0, description="Most events that wait for the broker.")


class MqttSink(ConfiguredSink):
    """Sends the results of one camera. A broker that is absent is tried again by its own thread."""

    name = "mqtt"

    def __init__(self, options: MqttOptions, context: SinkContext) -> None:
        self._options, self._context = options, context
        self._model = context.model.name if context.model else None
        self._id = file_stem(context.name)
        self._base = f"{options.topic}/{self._id}"
        self._feed = EventFeed(options, context.name)
        self._client: Any = None
        self._state = b""
        self._sent: tuple[State, float] | None = None
        self._lost = self._refused = False

    @classmethod
    def from_options(cls, options: MqttOptions, context: SinkContext) -> Self:
        """From `sinks.mqtt`."""
        return cls(options, context)

    def check(self) -> None:
        """See whether the library is there and the certificates can be read."""
        self._made()

    def __enter__(self) -> Self:
        """Begin to connect, and return at once."""
        self._feed.restart()
        self._sent = None
        self._client = self._made()
        port = self._options.port or (8883 if self._options.tls else 1883)
        self._client.connect_async(self._options.host, port, _KEEP_ALIVE_S)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        """Say what is over, and that it is offline, as far as the broker listens."""
        for record in self._feed.finish():
            self._send("event", json.dumps(record), qos=1)
        last = self._send("availability", "offline", qos=1, retain=True)
        if self._client.is_connected():
            with suppress(ValueError, RuntimeError):
                last.wait_for_publish(_LEAVE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def write(self, result: Result, picture: Picture) -> None:
        """Send the state where it changed or is old, and events; never waits for the broker."""
        if result.model is not None and result.model.name != self._model:
            self._model = result.model.name
            self._announce(self._client)
        for record in self._feed.take(result):
            self._send("event", json.dumps(record), qos=1)
            if record["ended"] is None and self._options.snapshot:
                self._send_picture(picture)
        verdict, now = result.verdict, time.monotonic()
        last, since_s = self._sent or (None, 0.0)
        if last == verdict.state and now - since_s < self._options.every_s:
            return
        self._sent = verdict.state, now
        score = None if verdict.score is None else round(float(verdict.score), 4)
        reason = result.error if verdict.state == "no_signal" else verdict.reason
        record = {"verdict": verdict.state, "score": score, "reason": reason}
        self._state = json.dumps(record | {"time": round(result.frame.captured_at, 3)}).encode()
        self._send("state", self._state, retain=True)

    def _send_picture(self, picture: Picture) -> None:
        try:
            data = encode_image(picture(), ".jpg")
        except Exception as error:
            log.warning("No picture for an event: %s", error)
            return
        self._send("snapshot", data, qos=1, retain=True)

    def _send(self, topic: str, payload: str | bytes, qos: int = 0, retain: bool = False) -> Any:
        sent = self._client.publish(f"{self._base}/{topic}", payload, qos, retain)
        if sent.rc == _QUEUE_FULL and not self._lost:
            self._lost = True
            log.warning("%s: the broker takes too little; events are lost", self._context.name)
        return sent

    def _made(self) -> Any:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "paho-mqtt", "send to an MQTT broker", "pip install 'patchwatch[mqtt]'"
            ) from error
        options = self._options
        client = Client(CallbackAPIVersion.VERSION2)
        client.max_queued_messages_set(options.queue)
        client.reconnect_delay_set(1, 60)
        client.will_set(f"{self._base}/availability", "offline", qos=1, retain=True)
        secret = options.password.get_secret_value() if options.password else None
        password = secret or os.environ.get(_PASSWORD)
        if options.username is not None:
            client.username_pw_set(options.username, password)
        if options.tls:
            try:
                client.tls_set(None if options.ca_file is None else str(options.ca_file))
            except (OSError, ssl.SSLError, ValueError) as error:
                raise SinkError(
                    f"{options.ca_file} cannot be read ({error}). Expected certificates, PEM."
                ) from error
        client.on_connect = self._connected
        client.on_connect_fail = self._failed
        client.on_disconnect = self._disconnected
        return client

    # Called by the library's thread.

    def _connected(self, client: Any, _: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._complain(f"the broker refuses: {code}. Check sinks.mqtt.username and password")
            return
        self._refused = self._lost = False
        log.info("%s: connected to the broker %s", self._context.name, self._options.host)
        self._announce(client)
        client.publish(f"{self._base}/availability", "online", qos=1, retain=True)
        if self._state:
            client.publish(f"{self._base}/state", self._state, retain=True)

    def _announce(self, client: Any) -> None:
        for topic, record in self._announcements():
            client.publish(topic, json.dumps(record), qos=1, retain=True)

    def _failed(self, client: Any, _: Any) -> None:
        self._complain(f"the broker {self._options.host} cannot be reached; it is tried again")

    def _disconnected(self, client: Any, _: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._complain(f"the connection to the broker broke ({code}); it is made again")

    def _complain(self, what: str) -> None:
        if not self._refused:
            log.warning("%s: %s", self._context.name, what)
        self._refused = True

    def _announcements(self) -> list[tuple[str, dict[str, Any]]]:
        """What Home Assistant reads: a topic and a record for each entity."""
        if self._options.discovery is None:
            return []
        # Home Assistant takes no other characters; what loses by that must not share another's id.
        plain = re.sub(r"[^a-zA-Z0-9_-]+", "-", self._id)
        digest = hashlib.sha256(self._base.encode()).hexdigest()[:8]
        key = f"patchwatch_{plain}" + (f"_{digest}" if self._base != f"patchwatch/{plain}" else "")
        device = {
            "identifiers": [key],
            "name": self._context.name,
            "manufacturer": "Patchwatch",
            "model": self._model,
            "sw_version": metadata.version("patchwatch"),
        }
        state = f"{self._base}/state"
        read: dict[str, dict[str, Any]] = {
            "sensor/verdict": {
                "state_topic": state,
                "value_template": "{{ value_json.verdict }}",
                "device_class": "enum",
                "options": ["real", "fake", "uncertain", "no_signal"],
                "json_attributes_topic": state,
            },
            "sensor/score": {
                "state_topic": state,
                "value_template": "{{ (value_json.score * 100) | round if "
                "value_json.score is not none else none }}",
                "unit_of_measurement": "%",
                "state_class": "measurement",
            },
            "binary_sensor/fake": {
                "state_topic": state,
                "value_template": "{{ 'ON' if value_json.verdict == 'fake' else 'OFF' }}",
                "device_class": "problem",
            },
            "image/incident": {
                "image_topic": f"{self._base}/snapshot",
                "content_type": "image/jpeg",
            },
        }
        found = []
        for entity, record in read.items():
            kind, _, name = entity.partition("/")
            record |= {"name": name.capitalize(), "unique_id": f"{key}_{name}", "device": device}
            record["availability_topic"] = f"{self._base}/availability"
            found.append((f"{self._options.discovery}/{kind}/{key}/{name}/config", record))
        return found
