"""`patchwatch run --backend tensorrt` and its like as whole programs: a TensorRT whose execution is
ONNX Runtime's, on a CUDA driver in software."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.tensorrt.record import parse_sidecar
from edge.tensorrt.store import sidecar_path
from tests.edge.sources.clips import write_clip
from tests.fake_tensorrt import Faults, site_environment
from tests.fakes import wait_for
from tests.onnx_files import write_model
from tests.software_cuda import environment
from tests.software_cuda.fixtures import software_cuda as software_cuda

ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(software_cuda: Path, tmp_path: Path) -> Start:
    """Starts `patchwatch …` on a machine with TensorRT and a GPU."""

    def start(
        *words: object,
        version: str = "10.3.0",
        faults: Faults | None = None,
        cache: Path | None = None,
        program: tuple[str, ...] = ("-m", "patchwatch"),
        **properties: object,
    ) -> subprocess.Popen[str]:
        found = environment(software_cuda, **properties) | site_environment(version, faults)
        found["XDG_CACHE_HOME"] = str(cache or tmp_path / "cache")
        found["PYTHONPATH"] = os.pathsep.join([str(ROOT), found["PYTHONPATH"]])
        return subprocess.Popen(
            [sys.executable, *program, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=found,
            cwd=tmp_path,
        )

    return start


def finished(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", 12)


def logits(out: str) -> list[float]:
    return [json.loads(line)["logit"] for line in out.splitlines()]


RUN = ("--headless", "--json", "-", "--region", "center:48")
ENGINE = ("--backend", "tensorrt", "--precision", "fp32")


@pytest.fixture
def words(model: Path, clip: Path) -> tuple[object, ...]:
    """Run the model's engine on the clip."""
    return ("run", clip, "--model", model, *RUN, *ENGINE)


def engines(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "patchwatch" / "engines").glob("*.engine"))


def test_builds_at_first_and_finds_it_from_then_on(
    start: Start, words: tuple[object, ...], tmp_path: Path
) -> None:
    expected = logits(finished(start(*words[: -len(ENGINE)]))[0])
    out, err = finished(start(*words))
    assert logits(out) == pytest.approx(expected, abs=1e-4)
    assert "The first build takes minutes" in err
    (engine,) = engines(tmp_path)
    record = parse_sidecar(sidecar_path(engine).read_text(), "it")
    assert record.proof.ok and record.key.machine.gpu == "Orin (software)"
    again, err = finished(start(*words))
    assert logits(again) == logits(out)
    assert "building" not in err
    # The system was upgraded: another TensorRT.
    _, err = finished(start(*words, version="8.6.1"))
    assert "no engine of fake for this machine yet" in err
    assert len(engines(tmp_path)) == 2


def test_ctrl_c_while_building_ends_at_once_and_leaves_nothing(
    start: Start, words: tuple[object, ...], tmp_path: Path
) -> None:
    process = start(*words, faults=Faults(build_seconds=10_000))
    while not list((tmp_path / "cache").rglob("*.lock")) or not _builders(tmp_path):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = finished(process, 130)
    wait_for(lambda: not _builders(tmp_path))  # what was killed takes a moment to be gone
    assert not engines(tmp_path)
    assert "interrupted" in err


def _builders(cwd: Path) -> list[str]:
    """Processes that build engines and were started in a folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
            if "export.engine.worker" in command and os.readlink(folder / "cwd") == str(cwd):
                found.append(folder.name)
        except OSError:
            continue
    return found


BAD: list[tuple[str, Any, dict[str, Any], str]] = [
    ("no device", {}, {"devices": 0}, "the driver finds none"),
    ("wrong results", {"logit_offset": 3.0}, {}, "differs from the model file by 3 in a logit"),
    ("no memory", {"build_fails": "Error Code 2: OutOfMemory"}, {}, "too little free memory"),
    ("killed", {"build_dies": "any"}, {}, "ended by SIGKILL"),
    ("other gpu", {"compute_capability": (8, 6)}, {}, "for this device, found one"),
]


@pytest.mark.parametrize(
    ("faults", "properties", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_what_cannot_be_is_one_sentence(
    start: Start,
    words: tuple[object, ...],
    faults: dict[str, Any],
    properties: dict[str, Any],
    reason: str,
) -> None:
    out, err = finished(start(*words, faults=Faults(**faults), **properties), 1)
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("patchwatch: error:")]
    assert reason in line


def test_without_tensorrt_or_a_driver_it_is_a_sentence(
    words: tuple[object, ...], tmp_path: Path, software_cuda: Path
) -> None:
    command = [sys.executable, "-m", "patchwatch", *map(str, words)]
    without = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    driverless = without | site_environment() | {"LD_LIBRARY_PATH": ""}
    driverless["PYTHONPATH"] = os.pathsep.join([str(ROOT), driverless["PYTHONPATH"]])
    for found, reason in (
        (without, "apt install python3-libnvinfer"),
        (driverless, "No NVIDIA driver found"),
    ):
        done = subprocess.run(command, env=found, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and reason in done.stderr and "Traceback" not in done.stderr


def test_export_builds_ahead_and_the_engine_can_be_named(
    start: Start, model: Path, clip: Path, tmp_path: Path
) -> None:
    export = ("export", model, "--engine", "--static", "1x48x48", "--precision", "fp32")
    out, _ = finished(start(*export))
    assert "max |Δ logit|" in out and "fake, fp32, 1x48x48" in out
    assert len(engines(tmp_path)) == 1
    run = ("run", clip, *RUN, *ENGINE, "--model")
    _, err = finished(start(*run, model))
    assert "building" not in err, "run finds what export built"
    finished(start(*export, "-o", "mine.engine"))
    out, _ = finished(start("run", clip, *RUN, "--model", "mine.engine"))
    assert len(logits(out)) == 12
    (tmp_path / "broken.onnx").write_bytes(model.read_bytes()[:200])
    for code, reason, words in (
        (2, "expected a model file", ("export", "mine.engine", "--engine")),
        (2, "was built for fp32", ("run", clip, "--model", "mine.engine", "--precision", "int8")),
        (1, "exists already", (*export, "-o", "mine.engine")),
        (1, "absent has no photographs to judge", (*export, "--labelled", "absent")),
        (2, "neither a file nor a shipped model", ("export", "absent.onnx", "--engine")),
        (1, "not an ONNX model", ("export", "broken.onnx", "--engine")),
        (2, "--static", ("export", model, "--engine")),
    ):
        _, err = finished(start(*words), code)
        assert reason in err and "building" not in err
    _, err = finished(start(*run, "mine.engine", version="8.6.1"), 1)
    assert "built for another machine" in err and "tensorrt: 8.6.1, not 10.3.0" in err


@pytest.mark.slow
def test_the_self_test_builds_proves_times_and_reports(start: Start, tmp_path: Path) -> None:
    script = """
        from pathlib import Path
        from export.engine.selftest import selftest
        assert selftest(Path("report.json"), print, longest_s=0.05) == ()
    """
    finished(start(program=("-c", textwrap.dedent(script))))
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["engines"]) == {"fp32", "fp16", "int8"}
    for part in report["engines"].values():
        assert part["proof"]["frames"] == 16
        assert part["copied"]["latency_ms"]["p50"] > 0
        assert part["zero_copy"]["spans_ms"]["round_trip"] > 0
        assert max(part["front_max_difference"].values()) <= 1
    assert report["machine"]["compute_capability"] == [8, 7]


@pytest.mark.slow
def test_the_self_test_reports_what_fails_and_goes_on(start: Start, tmp_path: Path) -> None:
    faults = Faults(build_fails="Error Code 2: OutOfMemory (Requested size was 9 bytes.)")
    out, err = finished(start("doctor", "--selftest", "report.json", faults=faults), 1)
    assert "not every engine was built" in out
    assert "patchwatch: fp16: " in err and "too little free memory" in err
    report = json.loads((tmp_path / "report.json").read_text())
    assert all("too little free memory" in part["error"] for part in report["engines"].values())
    assert report["onnxruntime"]["latency_ms"]["p50"] > 0
    finished(start("doctor", "--selftest", "no/such/folder/report.json"), 1)
