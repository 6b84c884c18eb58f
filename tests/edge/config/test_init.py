from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.config import RunConfig, json_schema, load_config, override
from edge.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_file_is_valid(path: Path) -> None:
    assert load_config(path, {"CAMERA_PASSWORD": "x"}) != RunConfig()


def test_an_empty_file_is_the_defaults_and_a_camera_index_may_be_a_number(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == RunConfig()
    assert load_config(write(tmp_path, "source: 0")).source == "0"
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: x", r"unknown key 'modle'. Did you mean 'model'\?"),
        ("verdict: {windows_s: 1}", r"unknown key 'verdict.windows_s'. Did you mean 'window_s'"),
        ("zzz: 1", "Known here: region, capture, verdict"),
        ("verdict: {window_s: -1}", "verdict.window_s.*at least 0.*found -1"),
        (
            "region: whole",
            r"c.yaml: region: region 'whole' is not known. Expected native.*pixels.$",
        ),
        ("model: a\nmodel: b", "appears twice"),
        ("a: [", "not valid YAML"),
        ("- a", "expected keys and values, found list"),
        ("source: 1.5", r"source: expected text, found 1\.5"),
        ("source: rtsp://u:${SECRET}@h/", r"variable SECRET is not set"),
        ("source: 0\ncameras: [{name: a, source: 1}]", "both source and cameras are set"),
        ("cameras: [{name: a, source: 1}, {name: a, source: 2}]", "2 cameras are called 'a'"),
        ("cameras: [{name: a/b, source: 1}, {name: a-b, source: 2}]", "2 cameras are called 'a-b'"),
        ("cameras: [{name: '', source: 1}]", "cameras.0.name"),
        ("cameras: [{name: a}]", "cameras.0.source"),
        ("cameras: [{name: a, source: 1, reigon: native}]", "Did you mean 'region'"),
        (
            "output: {save: o.mp4}\ncameras: [{name: a, source: 1}, {name: b, source: 2}]",
            r"2 cameras would write o\.mp4\. Put \{camera\}",
        ),
        ("alerts: {states: [fakes]}", "alerts.states.0"),
        ("capture: {retry: {retries: -1}}", "at least 0"),
        ("verdict: {threshold: 1}", "below 1"),
        ("batch: {frames: 9}", "at most 8"),
        ("sinks: {mqtt: {hots: x}}", "the key 'mqtt.host' is missing"),
        ("sinks: {mqtt: {host: x, potr: 1}}", "unknown key 'mqtt.potr'. Did you mean 'port'"),
        ("sinks: {mqtt: {host: x, port: 99999}}", "mqtt.port: expected a number below 65536"),
        ("sinks: {mqtt: {host: 'mqtt://x'}}", "mqtt.host: expected a name or a number"),
        ("sinks: {mqtt: {host: x, topic: 'a/#'}}", "mqtt.topic: expected a topic without #"),
        ("sinks: {webhook: {url: [x]}}", r"webhook.url: expected text\.$"),
        ("sinks: {webhook: {url: 'ftp://x'}}", "webhook.url: expected an address that begins"),
        ("sinks: {webhook: {url: 'http://x:y/'}}", "webhook.url: expected an address that begins"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text), {})


def test_what_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(Is a directory\)\. Expected a YAML file"):
        load_config(tmp_path)
    (tmp_path / "c.yaml").write_bytes(b"\x7fELF\xd0\0")
    with pytest.raises(ConfigError, match=r"c\.yaml: is no text in UTF-8\. Expected a YAML file"):
        load_config(tmp_path / "c.yaml")


def test_variables_are_replaced_and_have_defaults(tmp_path: Path) -> None:
    text = "source: rtsp://${USER_}:${PASS:-none}@h/\nbackend: {threads: '${THREADS:-2}'}"
    config = load_config(write(tmp_path, text), {"USER_": "me", "THREADS": "3"})
    assert config.source == "rtsp://me:none@h/"
    assert config.backend.threads == 3


def test_an_error_never_shows_a_secret(tmp_path: Path) -> None:
    path = write(tmp_path, "source: rtsp://u:${S}@h/\nmodle: 1")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"S": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_flag_overrides_a_key(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "model: a\noutput: {save: a.mp4, window: false}"))
    changed = override(config, {"model": "b", "backend.threads": 1})
    assert (changed.model, changed.output.save) == ("b", Path("a.mp4"))
    assert (changed.output.window, changed.backend.threads) == (False, 1)
    with pytest.raises(ConfigError, match="command line: --region"):
        override(config, {"region": "nowhere"})


def test_the_schema_describes_every_key() -> None:
    schema = json.loads(json_schema())
    parts = [schema, *schema["$defs"].values()]
    for part in parts:
        assert part["additionalProperties"] is False
        for name, field in part["properties"].items():
            assert "description" in field or "$ref" in field, name
    sinks = schema["properties"]["sinks"]
    assert sinks["additionalProperties"] is False
    for name, key in (("mqtt", "host"), ("webhook", "url")):
        options = sinks["properties"][name]
        assert options["additionalProperties"] is False and options["required"] == [key]
        assert all("description" in field for field in options["properties"].values())


CAMERAS = """
model: tiny-ladeda
capture: {frame_timeout_s: 3, retry: {slow_s: 9}}
verdict: {margin: 0.1}
output: {window: false, save: "{camera}.mp4", json_lines: all.jsonl}
cameras:
  - {name: door, source: rtsp://a/1, region: "center:256", verdict: {threshold: 0.8}}
  - name: yard
    source: 0
    capture: {retry: {retries: 2}, loop: true}
    output: {save: null, images: yard}
"""


def test_a_camera_has_its_own_keys_and_else_those_of_all(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, CAMERAS))
    door, yard = config.each_camera()
    assert (door.region, yard.region, yard.source) == ("center:256", None, "0")
    assert door.capture.frame_timeout_s == yard.capture.frame_timeout_s == 3
    assert (yard.capture.retry.slow_s, yard.capture.retry.retries) == (9, 2)
    assert (door.capture.retry.retries, door.capture.loop, yard.capture.loop) == (None, False, True)
    assert (door.verdict.threshold, door.verdict.margin, yard.verdict.threshold) == (0.8, 0.1, None)
    assert (door.output.save, yard.output.save) == (Path("{camera}.mp4"), None)
    assert door.output.json_lines == yard.output.json_lines == Path("all.jsonl")


def test_a_flag_reaches_every_camera_that_says_nothing_itself(tmp_path: Path) -> None:
    config = override(
        load_config(write(tmp_path, CAMERAS)),
        {"verdict.threshold": 0.7, "capture.retry.retries": 0, "region": "native"},
    )
    door, yard = config.each_camera()
    assert (door.verdict.threshold, yard.verdict.threshold) == (0.8, 0.7)
    assert (door.capture.retry.retries, yard.capture.retry.retries) == (0, 2)
    assert (door.region, yard.region) == ("center:256", "native")
