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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from edge.config import load_config
from edge.tensorrt.store import FOLDER_VARIABLE
from patchwatch import make_parser
from tests.servers import motion_jpeg
from training.search import parse_address

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")
DOCKERFILE = ROOT / "deploy" / "jetson.Dockerfile"
TRAINING = ROOT / "deploy" / "training.Dockerfile"
COMPOSE = ROOT / "deploy" / "training.compose.yaml"
IMAGES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
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


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_an_image_copies_what_is_there_and_runs_the_program_as_nobody_special(path: Path) -> None:
    names = [name for name, _ in instructions(path)]
    assert names[:2] == ["ARG", "FROM"]
    known = {"RUN", "ENV", "WORKDIR", "COPY", "USER", "VOLUME", "ENTRYPOINT", "CMD"}
    assert set(names[2:]) == known
    assert "RUN" not in names[names.index("USER") :]
    copied = {word for value in values("COPY", path) for word in value.split()[:-1]}
    assert [name for name in copied if not (ROOT / name).exists()] == []
    rooms = {name.rstrip("*") for name in listed("include")}
    assert rooms <= {name.rstrip("/") for name in copied}
    (user,) = values("USER", path)
    assert user != "0" and f"--uid {user}" in " ".join(values("RUN", path))
    assert json.loads(values("ENTRYPOINT", path)[0]) == ["patchwatch"]
    words = json.loads(values("CMD", path)[0])
    assert words == ["--help"] or make_parser(words[0]).parse_args(words[1:])
    assert not re.search(r"https?://|index-url|find-links", path.read_text(encoding="utf-8"))


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


def test_its_packages_from_pip_are_those_of_the_project_and_no_opencv() -> None:
    allowed = {re.split(r"[<>=]", item)[0] for item in listed("dependencies") + listed("jetson")}
    wanted = {name for run in values("RUN") for name in packages(run, "pip")}
    assert {"numpy", "pycuda"} <= wanted <= allowed
    text = " ".join(values("RUN"))
    assert "numpy>=1.24,<2" in text and "numpy>=1.24,<3" in listed("dependencies")
    assert not re.search(r"opencv-python|\btorch\b", text)


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
    assert values("VOLUME")[0] in inside and "--volume /tmp/argus_socket:" in PAGE
    assert run[run.index("--device") + 1] == load_config(ROOT / "configs" / "jetson.yaml").source
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


def test_the_example_runs_on_orin_and_thor_alike() -> None:
    config = load_config(ROOT / "configs" / "jetson.yaml")
    assert config.source == "/dev/video0" and config.capture.pixel_format == "bgr"
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


def test_the_service_starts_what_the_page_installs_in_its_own_folders() -> None:
    program, command, *words = STARTED
    args = make_parser(command).parse_args(words)
    assert vars(args)["output.window"] is False
    assert f"configs/jetson.yaml {args.config}" in PAGE
    folder = Path(program).parents[2]
    assert f"git clone REPOSITORY {folder}" in PAGE and program in PAGE
    assert f" {only('User')}\n" in PAGE and only("EnvironmentFile").lstrip("-") in PAGE
    cache = Path("/var/cache", only("CacheDirectory"))
    assert Path(VARIABLES["XDG_CACHE_HOME"]).is_relative_to(cache) and str(cache) in PAGE
    assert VARIABLES[FOLDER_VARIABLE] == str(cache)


def test_the_service_is_shut_in_tries_again_and_stops_in_peace() -> None:
    assert only("NoNewPrivileges") == "yes" and only("CapabilityBoundingSet") == ""
    assert only("ProtectSystem") == "strict" and only("ProtectHome") == "yes"
    # `strict` closes /tmp too, where nvargus-daemon's socket is and where engines are built.
    assert "/tmp" in only("ReadWritePaths").split()
    # Each of these takes the GPU, a camera or the name of the board away.
    closing = {"PrivateTmp", "PrivateDevices", "ProtectClock", "DeviceAllow", "DevicePolicy"}
    closing |= {"MemoryDenyWriteExecute", "ProcSubset", "DynamicUser", "PrivateNetwork"}
    assert not closing & unit().keys()
    assert {"video", "render"} == set(only("SupplementaryGroups").split())
    assert only("Restart") == "on-failure" and only("StartLimitIntervalSec") == "0"
    assert {128 + signal.Signals[only("KillSignal")], 128 + signal.SIGINT} <= STOPPED
    assert only("ExecReload") == "/bin/kill -HUP $MAINPID"


def write_config(folder: Path, source: str) -> Path:
    """A configuration for where there is no GPU; YAML reads JSON."""
    path = folder / "live.yaml"
    output = {"json_lines": "-"}
    config = {
        "source": source,
        "model": "tiny-ladeda",
        "backend": {"name": "onnxruntime"},
        "output": output,
    }
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
    with (
        motion_jpeg([jpeg.tobytes()]) as address,
        running(write_config(tmp_path, address)) as process,
    ):
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.Signals[only("KillSignal")])
        rest, said = process.communicate(timeout=120)
    assert process.returncode in STOPPED, said
    assert process.returncode == 143
    for line in [*lines, *rest.splitlines()]:
        assert json.loads(line)["verdict"] and json.loads(line)["logit"] is not None
    assert "finished" in said


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


def test_the_training_services_start_what_the_program_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    services = found["services"]
    for name in ("train", "search"):
        command, *words = (word.replace("$$", "$") for word in services[name]["command"])
        args = make_parser(command).parse_args(words)
        config = getattr(args, "config", None) or args.what
        assert (ROOT / Path(config).relative_to("/opt/patchwatch")).is_file()
        assert {v.rpartition("}")[2] for v in services[name]["volumes"]} >= {":/data:ro", ":/runs"}
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
        assert services[name]["build"]["dockerfile"] == str(TRAINING.relative_to(ROOT))
    # The search is kept in the database beside it, which is seen from this machine alone.
    monkeypatch.setenv("PATCHWATCH_PASSWORD", "abc123")
    address = parse_address(args.storage)
    assert address.host == "database" and "abc123" not in repr(address)
    assert services["experiments"]["ports"] == ["127.0.0.1:5000:5000"]
    assert "ports" not in services["database"]
    sent = Path(f"{TRAINING}.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {word.rstrip("/") for v in values("COPY", TRAINING) for word in v.split()[:-1]}
    assert {line[1:] for line in sent if line[0] == "!"} == copied


def test_the_container_for_a_cpu_is_what_readme_shows_and_starts_the_program() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in readme.splitlines() if line.startswith("docker compose")]
    words = shlex.split(line)
    path = ROOT / words[words.index("-f") + 1]
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    name = words[words.index("--rm") + 1]
    assert name in services and make_parser(words[-2]).parse_args(words[-1:])
    for service in services.values():
        build = service["build"]
        assert (path.parent / build["context"] / build["dockerfile"]).resolve().is_file()
        assert {"cache:/cache", "${DATA:-.}:/data"} == set(service["volumes"])
    script = services["watch"]["entrypoint"][2].replace("$$CAMERA", "rtsp://h/1")
    _, _, command, *rest = shlex.split(script)
    assert make_parser(command).parse_args(rest)
    # What is not sent to the builder cannot be copied.
    sent = (ROOT / "deploy" / "cpu.Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = {word for v in values("COPY", IMAGES[0]) for word in v.split()[:-1]}
    assert {row[1:] for row in sent if row[:1] == "!"} >= {word.rstrip("/") for word in copied}
