"""What joins boards: every file that is mounted is there, and those who read them take them."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from paho.mqtt import MQTTException, publish

from tests.fakes import wait_for
from tests.servers import free_port

if TYPE_CHECKING:
    from paho.mqtt.publish import AuthParameter

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
FLEET = Path(__file__).resolve().parents[1] / "deploy" / "fleet"
SERVICES = yaml.safe_load((FLEET / "compose.yaml").read_text(encoding="utf-8"))["services"]


def mounts(service: str) -> dict[str, Path]:
    """The files of ours that a service sees, by their places in it."""
    found = {}
    for mount in SERVICES[service]["volumes"]:
        source, _, place = mount.removesuffix(":ro").rpartition(":")
        if source.startswith("."):
            found[place] = FLEET / source
    return found


def test_every_file_that_is_mounted_is_there_and_no_one_is_open_by_mistake() -> None:
    for name in ("broker", "prometheus", "grafana"):
        for path in mounts(name).values():
            assert path.is_file() or path.name == "passwords", path
    for name in ("prometheus", "grafana"):
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])
    source = yaml.safe_load((FLEET / "grafana.yaml").read_text())["datasources"][0]
    assert source["url"].split("//")[1].split(":")[0] in SERVICES
    boards = yaml.safe_load((FLEET / "dashboards.yaml").read_text())["providers"][0]
    assert boards["options"]["path"] in {str(Path(place).parent) for place in mounts("grafana")}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs the package prometheus")
def test_prometheus_takes_its_files(tmp_path: Path) -> None:
    for place, path in mounts("prometheus").items():
        shutil.copy(path, tmp_path / Path(place).name)
    words = ["promtool", "check", "config", "prometheus.yaml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 rule files found" in done.stdout, done.stderr


@contextmanager
def broker(tmp_path: Path) -> Iterator[int]:
    """Mosquitto with the file of the fleet, its places moved to a folder; yields its port."""
    port, text = free_port(), (FLEET / "mosquitto.conf").read_text()
    for name in ("config", "data"):
        (tmp_path / name).mkdir()
    text = text.replace("/mosquitto/", f"{tmp_path}/")
    assert "listener 1883" in text
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"{text.replace('listener 1883', f'listener {port}')}\nuser root\n")
    words = ["mosquitto_passwd", "-b", "-c", str(tmp_path / "config" / "passwords"), "board", "pw"]
    subprocess.run(words, check=True, capture_output=True)
    with subprocess.Popen(
        [MOSQUITTO or "", "-c", str(config)], stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield port
        finally:
            process.terminate()


@pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="needs the package mosquitto")
def test_the_broker_lets_in_who_has_the_password(tmp_path: Path) -> None:
    with broker(tmp_path) as port:
        wait_for(lambda: is_open(port))
        others: tuple[AuthParameter | None, ...] = (login("other"), None)
        for auth in others:
            with pytest.raises(MQTTException, match=r"(?i)not authori"):
                publish.single("a", "b", hostname="127.0.0.1", port=port, auth=auth)
        publish.single("a", "b", qos=1, hostname="127.0.0.1", port=port, auth=login("pw"))


def login(password: str) -> AuthParameter:
    return {"username": "board", "password": password}


def is_open(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
