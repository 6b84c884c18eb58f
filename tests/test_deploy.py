"""What deploys the program must go with it: the image's recipe, the service, their example.

Nothing here builds an image or talks to systemd's first process; what can be known without is held.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import yaml

from edge.config import load_config
from edge.tensorrt.cache import FOLDER_VARIABLE, default_folder
from patchwatch import make_parser
from tests.servers import motion_jpeg
from training.search import parse_address

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")
DOCKERFILE = ROOT / "deploy" / "jetson.Dockerfile"
TRAINING = ROOT / "deploy" / "training.Dockerfile"
COMPOSE = ROOT / "deploy" / "training.compose.yaml"
SERVICE = ROOT / "deploy" / "patchwatch.service"
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def instructions(path: Path = DOCKERFILE) -> list[tuple[str, str]]:
    """Names and values of a Dockerfile; comments dropped, continued lines joined."""
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    parts = (line.partition(" ") for line in joined if line.strip())
    return [(name, value.strip()) for name, _, value in parts]


def listed(key: str) -> list[str]:
    """The texts of a list in pyproject.toml (Python 3.10 has no reader of TOML)."""
    match = re.search(rf"^{key} = \[(.*?)\]$", PROJECT, flags=re.DOTALL | re.MULTILINE)
    assert match is not None, key
    return re.findall(r'"([^"]+)"', match[1])


def values(name: str, path: Path = DOCKERFILE) -> list[str]:
    return [value for found, value in instructions(path) if found == name]


def packages(command: str, of: str) -> set[str]:
    """What a shell line lets `apt-get install` or `pip install` fetch, by bare names."""
    found = set()
    for part in command.split("&&"):
        words = shlex.split(part)
        if "install" in words and any(word.endswith(of) for word in words):
            given = words[words.index("install") + 1 :]
            found |= {re.split(r"[<>=\[]", word)[0] for word in given if word[0] not in "-./"}
    return found


def environment() -> dict[str, str]:
    words = shlex.split(" ".join(values("ENV")))
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("path", [DOCKERFILE, TRAINING], ids=lambda path: path.stem)
def test_every_instruction_is_one_that_docker_knows_and_nothing_runs_as_the_user(
    path: Path,
) -> None:
    names = [name for name, _ in instructions(path)]
    assert names[:2] == ["ARG", "FROM"]
    known = {"RUN", "ENV", "WORKDIR", "COPY", "USER", "VOLUME", "ENTRYPOINT", "CMD"}
    assert set(names[2:]) == known
    assert "RUN" not in names[names.index("USER") :]


def test_the_base_is_of_l4t_and_its_tag_can_be_chosen() -> None:
    name, tag = values("ARG")[0].split("=")
    assert values("FROM") == [f"nvcr.io/nvidia/l4t-jetpack:${{{name}}}"]
    assert re.fullmatch(r"r36\.\d\.\d", tag)
    assert f"--build-arg {name}=r36." in PAGE


def test_everything_that_it_copies_is_there() -> None:
    copied = [word for value in values("COPY") for word in value.split()[:-1]]
    assert copied and [name for name in copied if not (ROOT / name).exists()] == []
    rooms = {name.rstrip("*") for name in listed("include")}
    assert "edge" in rooms and rooms <= {name.rstrip("/") for name in copied}


def test_what_it_copies_is_enough_to_run(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    for value in values("COPY"):
        *names, target = value.split()
        for name in names:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, image / target, ignore=ignored)
            else:
                shutil.copy(source, image / target)
    cv2.imwrite(str(tmp_path / "p.png"), np.full((520, 520, 3), 90, np.uint8))
    script = "import edge, patchwatch, sys; print(edge.__file__); sys.exit(patchwatch.main())"
    words = ["run", str(tmp_path / "p.png"), "--headless", "--json", "-"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=image,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, line = done.stdout.splitlines()
    assert Path(where).is_relative_to(image)
    assert json.loads(line)["logit"] is not None


def test_its_system_packages_are_those_that_the_page_names() -> None:
    wanted = {name for run in values("RUN") for name in packages(run, "apt-get")}
    assert {"python3-opencv", "python3-libnvinfer", "g++"} <= wanted
    # The page leaves these to L4T, which has them on a board and not in its image.
    plugins = {f"gstreamer1.0-plugins-{kind}" for kind in ("base", "good", "bad")}
    named = set(re.findall(r"[a-z0-9.+-]+", PAGE))
    assert wanted - plugins <= named


def test_its_packages_from_pip_are_those_of_the_project_and_no_opencv() -> None:
    allowed = {re.split(r"[<>=]", item)[0] for item in listed("dependencies") + listed("jetson")}
    wanted = {name for run in values("RUN") for name in packages(run, "pip")}
    assert {"numpy", "pycuda"} <= wanted <= allowed
    text = " ".join(values("RUN"))
    assert "numpy>=1.24,<2" in text and "numpy>=1.24,<3" in listed("dependencies")
    assert not re.search(r"opencv-python|\btorch\b", text)


def test_it_runs_as_nobody_special_and_keeps_engines_on_a_volume() -> None:
    (volume,) = values("VOLUME")
    assert environment()[FOLDER_VARIABLE].startswith(volume)
    assert environment()["XDG_CACHE_HOME"].startswith(volume)
    (run,) = [run for run in values("RUN") if "useradd" in run]
    uid, name = shlex.split(run)[2], shlex.split(run.split("&&")[0])[-1]
    assert values("USER") == [uid] and uid != "0"
    assert "--groups video" in run
    assert f"install -d -o {name} -g {name} {volume}" in run


def test_its_entry_point_is_the_program() -> None:
    assert json.loads(values("ENTRYPOINT")[0]) == ["patchwatch"]
    words = json.loads(values("CMD")[0])
    assert make_parser(words[0]).parse_args(words[1:])
    assert 'patchwatch = "patchwatch:program"' in PROJECT
    folder = f"{values('WORKDIR')[0]}/.venv/bin"
    assert environment()["PATH"].split(":")[0] == folder


def docker_line(command: str) -> list[str]:
    line = next(
        line for line in PAGE.replace("\\\n", " ").splitlines() if f"sudo docker {command}" in line
    )
    return shlex.split(line)[2:]


def test_the_page_builds_and_runs_the_image() -> None:
    build, run = docker_line("build"), docker_line("run")
    assert build[build.index("-f") + 1] == str(DOCKERFILE.relative_to(ROOT))
    image = build[build.index("-t") + 1]
    assert run[run.index("--runtime") + 1] == "nvidia"
    mounts = [run[i + 1].split(":") for i, word in enumerate(run) if word == "--volume"]
    inside = [mount[1] for mount in mounts]
    assert values("VOLUME")[0] in inside and "/tmp/argus_socket" in inside
    command, *words = run[run.index(image) + 1 :]
    args = make_parser(command).parse_args(words)
    configs = next(mount[1] for mount in mounts if mount[0].endswith("/configs"))
    assert str(args.config.parent) == configs
    assert (ROOT / "configs" / args.config.name).is_file()


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs hadolint")
@pytest.mark.parametrize("path", sorted((ROOT / "deploy").glob("*.Dockerfile")))
def test_the_linter_of_dockerfiles_finds_nothing(path: Path) -> None:
    done = subprocess.run(["hadolint", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_example_is_a_csi_camera_on_an_engine() -> None:
    config = load_config(ROOT / "configs" / "jetson.yaml")
    assert config.source == "csi://0" and config.capture.pixel_format == "nv12"
    assert config.backend.name == "tensorrt" and config.backend.precision == "fp16"
    # Nobody draws, so that nothing has to be converted on the CPU.
    output = config.output
    assert not output.window and output.save is None and output.images is None
    assert str(output.json_lines) == "-"


def unit() -> dict[str, list[str]]:
    """The keys of the service file with their values, from all its sections."""
    found: dict[str, list[str]] = {}
    for line in SERVICE.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def only(key: str) -> str:
    (value,) = unit()[key]
    return value


STARTED = shlex.split(only("ExecStart"))
VARIABLES = dict(value.split("=", 1) for value in unit()["Environment"])
STOPPED = {int(word) for word in only("SuccessExitStatus").split()}


def test_the_service_starts_what_the_page_installs() -> None:
    program, command, *words = STARTED
    args = make_parser(command).parse_args(words)
    assert vars(args)["output.window"] is False
    assert f"configs/jetson.yaml {args.config}" in PAGE
    folder = Path(program).parents[2]
    assert f"git clone REPOSITORY {folder}" in PAGE and program in PAGE
    assert f"useradd --system --home-dir {only('WorkingDirectory')}" in PAGE
    assert f" {only('User')}\n" in PAGE
    assert only("EnvironmentFile").lstrip("-") in PAGE
    assert only("Documentation") == f"file://{folder}/docs/jetson.md"


def test_the_service_keeps_engines_in_its_own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/var/cache", only("CacheDirectory"))
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == folder
    assert Path(VARIABLES["XDG_CACHE_HOME"]).is_relative_to(folder)
    assert str(folder) in PAGE
    assert only("WorkingDirectory") == f"/var/lib/{only('StateDirectory')}"


def test_the_service_is_shut_in_but_not_shut_off() -> None:
    keys = unit()
    assert only("NoNewPrivileges") == "yes" and only("CapabilityBoundingSet") == ""
    assert only("ProtectSystem") == "strict" and only("ProtectHome") == "yes"
    assert not Path(STARTED[0]).is_relative_to("/home")
    # `strict` closes /tmp too, where nvargus-daemon's socket is and where engines are built.
    assert "/tmp" in only("ReadWritePaths").split()
    # Each of these takes the GPU, a camera or the name of the board away.
    closing = {"PrivateTmp", "PrivateDevices", "ProtectClock", "DeviceAllow", "DevicePolicy"}
    closing |= {"MemoryDenyWriteExecute", "ProcSubset", "DynamicUser", "PrivateNetwork"}
    assert not closing & keys.keys()
    assert {"video", "render"} == set(only("SupplementaryGroups").split())


def test_the_service_tries_again_stops_in_peace_and_reloads() -> None:
    assert only("Restart") == "on-failure"
    assert 128 + signal.Signals[only("KillSignal")] in STOPPED
    assert 128 + signal.SIGINT in STOPPED
    assert int(only("RestartSec")) >= 1 and int(only("TimeoutStopSec")) >= 10
    assert int(only("RestartMaxDelaySec")) > int(only("RestartSec"))
    assert only("StartLimitIntervalSec") == "0"
    assert only("ExecReload") == "/bin/kill -HUP $MAINPID"


def write_config(folder: Path, source: str) -> Path:
    """A configuration for where there is no GPU; YAML reads JSON."""
    path = folder / "live.yaml"
    config = {"source": source, "model": "tiny-ladeda", "output": {"json_lines": "-"}}
    path.write_text(json.dumps(config))
    return path


@contextmanager
def running(config: Path) -> Iterator[subprocess.Popen[str]]:
    """What the service starts, with this interpreter, checkout and configuration."""
    folder, words = config.parent, list(STARTED)
    words[words.index("--config") + 1] = str(config)
    variables = {
        name: value.replace("/var/cache", str(folder / "cache"))
        for name, value in VARIABLES.items()
    }
    with subprocess.Popen(
        [sys.executable, str(ROOT / "patchwatch.py"), *words[1:]],
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_its_command_watches_until_it_is_stopped(tmp_path: Path) -> None:
    ok, jpeg = cv2.imencode(".jpg", np.full((120, 160, 3), 90, np.uint8))
    assert ok
    with motion_jpeg([jpeg.tobytes()]) as address:
        with running(write_config(tmp_path, address)) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(5)]
            process.send_signal(signal.Signals[only("KillSignal")])
            began = time.monotonic()
            rest, said = process.communicate(timeout=int(only("TimeoutStopSec")))
        assert time.monotonic() - began < int(only("TimeoutStopSec"))
    assert process.returncode in STOPPED, said
    assert process.returncode == 143
    for line in [*lines, *rest.splitlines()]:
        assert json.loads(line)["verdict"] and json.loads(line)["logit"] is not None
    assert "finished" in said


def test_a_picture_ends_it_with_success(tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), np.full((120, 160, 3), 90, np.uint8))
    with running(write_config(tmp_path, str(picture))) as process:
        out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert json.loads(out)["source"] == str(picture)


@pytest.mark.parametrize(("source", "again"), [("gopher://x/", True), (None, False)])
def test_what_fails_is_tried_again_unless_it_cannot_get_better(
    tmp_path: Path, source: str | None, again: bool
) -> None:
    config = write_config(tmp_path, source or "")
    if source is None:
        config.write_text("sourc: csi://0\n")
    with running(config) as process:
        _, said = process.communicate(timeout=60)
    assert said.startswith("patchwatch: error:")
    assert process.returncode not in {0} | STOPPED
    assert (str(process.returncode) not in only("RestartPreventExitStatus").split()) == again


def test_a_camera_that_is_absent_is_waited_for(tmp_path: Path) -> None:
    with running(write_config(tmp_path, "/dev/video63")) as process:
        assert process.stderr is not None
        assert "there is no such camera" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode in STOPPED


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (package systemd)"
)
def test_systemd_reads_every_line(tmp_path: Path) -> None:
    program = tmp_path / "patchwatch"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = SERVICE.read_text(encoding="utf-8").replace(STARTED[0], str(program))
    path = tmp_path / SERVICE.name
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    # Before systemd 254 two keys are not known, and passed over.
    known = ("Unknown key 'RestartSteps'", "Unknown key 'RestartMaxDelaySec'")
    said = [line for line in done.stderr.splitlines() if SERVICE.name in line]
    assert [line for line in said if not any(text in line for text in known)] == []
    assert done.returncode == 0, done.stderr


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return found


def test_the_training_image_fetches_what_the_project_lists_and_keeps_its_torch() -> None:
    install = next(run for run in values("RUN", TRAINING) if "pip install" in run)
    extras = re.search(r"'\.\[(.*?)\]'", install)
    assert extras is not None
    assert all(listed(extra) for extra in extras[1].split(","))
    assert "--constraint" in install and "torch.version.cuda" in install
    text = TRAINING.read_text(encoding="utf-8") + COMPOSE.read_text(encoding="utf-8")
    assert not re.search(r"https?://|index-url|find-links", text)
    assert re.match(r"pytorch/pytorch:", values("FROM", TRAINING)[0])
    assert re.match(r"TORCH_TAG=2\.\d+", values("ARG", TRAINING)[0])


def test_the_training_image_copies_what_it_installs_and_runs_as_nobody_special() -> None:
    copied = {word for value in values("COPY", TRAINING) for word in value.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    rooms = {"edge/", "training/", "export/", "benchmarks/", "configs/"}
    assert rooms | {"pyproject.toml", "patchwatch.py", "README.md"} <= copied
    sent = Path(f"{TRAINING}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in sent if line[0] == "!"} == {name.rstrip("/") for name in copied}
    assert values("USER", TRAINING) == ["1000"] and "--uid 1000" in " ".join(
        values("RUN", TRAINING)
    )
    assert json.loads(values("ENTRYPOINT", TRAINING)[0]) == ["patchwatch"]


@pytest.mark.parametrize("service", ["train", "search"])
def test_the_training_services_start_what_the_program_takes(service: str) -> None:
    found = compose()["services"][service]
    command, *words = found["command"]
    args = make_parser(command).parse_args(words)
    config = getattr(args, "config", None) or (args.what if service == "search" else None)
    if config is not None:
        assert (ROOT / Path(config).relative_to("/opt/patchwatch")).is_file()
        assert str(args.base).startswith("/data/") and str(args.output).startswith("/runs/")
    mounts = {mount.rpartition("}")[2] or mount for mount in found["volumes"]}
    assert mounts == {":/data:ro", ":/runs", "cache:/cache"}
    volumes = json.loads(values("VOLUME", TRAINING)[0])
    assert {"/runs", "/cache"} == set(volumes)


def test_the_training_gets_the_gpus_and_time_to_save() -> None:
    services = compose()["services"]
    for name in ("train", "search"):
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
        assert int(services[name]["stop_grace_period"].rstrip("s")) >= 60
        assert services[name]["build"]["dockerfile"] == str(TRAINING.relative_to(ROOT))
    assert (COMPOSE.parent / services["train"]["build"]["context"]).resolve() == ROOT
    assert "deploy" not in services["experiments"]


def test_the_search_is_kept_in_the_database_beside_it_and_seen_from_this_machine_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = compose()["services"]
    database = services["database"]["environment"]
    monkeypatch.setenv("PATCHWATCH_PASSWORD", "abc123")
    command, *words = (word.replace("$$", "$") for word in services["search"]["command"])
    address = parse_address(make_parser(command).parse_args(words).storage)
    parts = urlsplit(address.url)
    assert (parts.username, parts.password) == (database["POSTGRES_USER"], "abc123")
    assert (parts.hostname, parts.path) == ("database", f"/{database['POSTGRES_DB']}")
    assert "PATCHWATCH_PASSWORD" in services["search"]["environment"]
    assert "abc123" not in address.shown
    assert services["experiments"]["ports"] == ["127.0.0.1:5000:5000"]
    page = services["experiments"]["command"]
    assert "sqlite:////runs/mlflow.db" in " ".join(page)
    assert "ports" not in services["database"]
    assert set(compose()["volumes"]) == {"cache", "database"}
