"""Soak: its figures and bounds by hand, and short real runs."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cameras, soak_run
from benchmarks.cameras import AgeSink, CameraProcess
from benchmarks.results_file import conditions_now
from benchmarks.soak import GROWTH_WATCHED_S, Bound, ages, bounds, main, result, skip_share
from benchmarks.soak_run import Held, Soak, slope_per_h
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.live.loop import Camera
from edge.manifest import Calibration
from edge.regions import parse_region
from edge.sinks.worker import SinkWorker
from edge.sources import open_source
from edge.sources.live import LiveSource
from tests.fakes import FakeBackend
from tests.onnx_files import write_model


def arguments(**changes: object) -> argparse.Namespace:
    return argparse.Namespace(
        **{"minutes": 10.0, "faults": False, "rotate": None, "report": None, **changes}
    )


def test_a_slope_is_that_of_the_line_and_one_step_is_none() -> None:
    at_s = [float(second) for second in range(2000)]
    assert slope_per_h(at_s, [7 + 2 * t / 3600 for t in at_s]) == pytest.approx(2)
    assert slope_per_h(at_s, [2.8 * (t > 1800) for t in at_s]) == 0


def test_the_warm_up_does_not_count() -> None:
    measured = Soak(arguments(minutes=5))
    assert measured.slope_mb_per_h() is None and measured.warm_up_s == 60
    for at_s in (0.0, 100.0, 101.0, 102.0):
        measured.note(at_s)
    assert measured.end is not None and measured.end.files > 2 and measured.end.threads >= 1
    late = slope_per_h([100.0, 101.0, 102.0], list(measured.rss_mb)[1:])
    assert measured.slope_mb_per_h() == pytest.approx(late)
    assert Soak(arguments(minutes=0.5)).warm_up_s == 10


class Received(LiveSource):
    """A source that was never opened, with a number of frames received."""

    count = 0

    def health(self) -> Any:
        return replace(super().health(), received=self.count, reconnects=2)


def watched(name: str, scored: int, received: int, last_s: float | None) -> tuple[Camera, AgeSink]:
    """A camera that a soak watched, with 0, 1, … ms of age."""
    source = open_source("rtsp://127.0.0.1:9/none", name=name)
    assert isinstance(source, LiveSource)
    source.__class__ = Received
    source.count = received  # type: ignore[attr-defined]  # of the class that it is now
    detector = Detector(FakeBackend(), parse_region("native"))
    camera = Camera(name, source, detector, VerdictSettings(), Calibration())
    camera.summary.latencies_ms["model"] = deque([300.0, 333.0, 340.0])
    sink = AgeSink(CameraProcess(Path("film"), 30.0, 0.0), scored=scored, last_s=last_s)
    sink.ages_ms.extend(range(scored))
    return camera, sink


def made_soak(*seen: tuple[Camera, AgeSink], minutes: float = 10.0, growth: float = 0.0) -> Soak:
    measured = Soak(arguments(minutes=minutes), list(seen), ended_s=1000.0)
    measured.begin, measured.end = Held(100.0, 20, 9), Held(100.5, 20, 9)
    measured.faults = Counter(killed=3)
    measured.at_s.extend(float(t) for t in range(0, round(60 * minutes) + 1, 10))
    measured.rss_mb.extend(100 + growth * t / 3600 for t in measured.at_s)
    return measured


def broken(measured: Soak) -> set[str]:
    return {bound.name for bound in bounds(measured) if not bound.kept}


SILENT = "longest since a camera was scored, at the end"
APART = {"skipped shares apart", "scored shares apart, as a ratio"}


def test_a_soak_keeps_its_bounds_or_none() -> None:
    kept = made_soak(watched("door", 600, 18_000, 999.0))
    assert broken(kept) == set()
    names = {"age p99", "open files at the end", "threads at the end", "memory growth", SILENT}
    assert {bound.name for bound in bounds(kept)} == names
    lost = made_soak(watched("door", 900, 18_000, 990.0), growth=6.0)
    lost.end = Held(300.0, 21, 10)
    assert broken(lost) == names
    assert broken(made_soak(watched("door", 0, 0, None))) >= {"age p99", SILENT}
    assert GROWTH_WATCHED_S > 60
    assert broken(made_soak(watched("door", 60, 1800, 999.0), minutes=1, growth=6.0)) == set()


@pytest.mark.parametrize(
    ("scored", "apart"),
    [
        ((500, 540), set()),
        ((500, 560), {"scored shares apart, as a ratio"}),
        ((100, 400), APART),
        ((0, 400), APART),
    ],
)
def test_cameras_that_are_not_served_equally(scored: tuple[int, int], apart: set[str]) -> None:
    seen = [watched(str(count), count, 1000, 999.0) for count in scored]
    assert broken(made_soak(*seen)) == apart


def test_figures_of_a_soak_are_plain_json() -> None:
    measured = made_soak(watched("door", 600, 18_000, 999.0))
    content = json.loads(json.dumps(result(measured, conditions_now()), allow_nan=False))
    assert content["theme"] == "soak" and content["inference_ms"] == 333.0
    assert content["age_ms"] == {"p50": 299.0, "p90": 539.0, "p99": 593.0, "max": 599.0}
    assert content["age_p99_inferences"] == pytest.approx(593 / 333, abs=1e-3)
    (row,) = content["cameras"]
    assert (row["skip_share"], row["reconnects"]) == (pytest.approx(1 - 600 / 18_000, abs=1e-4), 2)
    assert content["faults"] == {"killed": 3}
    assert all(bound["kept"] for bound in content["bounds"])
    empty = json.loads(json.dumps(result(Soak(arguments()), conditions_now()), allow_nan=False))
    assert empty["age_ms"] is None and empty["inference_ms"] is None
    assert skip_share(*watched("door", 0, 0, None)) is None
    assert ages([]) is None and not Bound("x", None, 1.0, "ms").kept


def run_soak(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *flags: str
) -> tuple[int, dict[str, Any]]:
    """Run it in a folder, below which its report goes."""
    monkeypatch.chdir(folder)
    model = write_model(folder / "model.onnx")
    code = main(["--size", "360p", "--model", str(model), *flags])
    (report,) = (folder / "out/bench").iterdir()
    return code, json.loads(report.read_text())


@pytest.mark.slow
def test_a_real_soak_of_three_cameras_with_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("_REST_S", "_DOWN_S", "_FROZEN_S"):
        monkeypatch.setattr(cameras, pause, (0.1, 0.2))
    flags = ["--minutes", "0.15", "--cameras", "3", "--fps", "15", "--faults"]
    _, content = run_soak(tmp_path, monkeypatch, *flags)
    assert [row["name"] for row in content["cameras"]] == ["camera-1", "camera-2", "camera-3"]
    assert all(row["scored"] for row in content["cameras"])
    assert sum(content["faults"].values()) > 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_real_soak_whose_lines_rotate_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[set[str]] = []
    lost = soak_run._lost

    def looked_at(lines: tuple[list[SinkWorker], Path]) -> int:
        files.append({path.name.partition(".")[0] for path in lines[1].iterdir()})
        files[-1] |= {f"{len(list(lines[1].glob(name)))} {name}" for name in ("own_*", "held.*")}
        return lost(lines)

    monkeypatch.setattr(soak_run, "_lost", looked_at)
    flags = ["--minutes", "0.1", "--fps", "15", "--slow-ms", "50", "--rotate", "1"]
    _, content = run_soak(tmp_path, monkeypatch, *flags)
    found = {bound["name"]: bound["found"] for bound in content["bounds"]}
    assert found["lines lost"] == 0
    (counts,) = files
    assert {"own", "held"} <= counts
    assert all(int(text.split()[0]) > 1 for text in counts if " " in text), counts


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    model, report = write_model(tmp_path / "model.onnx"), tmp_path / "report.json"
    flags = ["--minutes", "60", "--size", "360p", "--model", str(model), "--slow-ms", "50"]
    script = (
        "import sys, os, signal, benchmarks.soak_run as run\n"
        "from benchmarks.soak import main\n"
        # A shell that starts tests in the background has it ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "note = run.Soak.note\n"
        "def noted(measured, at_s):\n"
        "    note(measured, at_s)\n"
        "    if measured.cameras[0][1].scored > 5: os.kill(os.getpid(), signal.SIGINT)\n"
        "run.Soak.note = noted\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *flags, "--report", str(report)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    content = json.loads(report.read_text())
    assert content["interrupted"] and content["cameras"][0]["scored"] > 5


@pytest.mark.parametrize("flags", [["--minutes", "0"], ["--minutes", "1", "--size", "9p"], []])
def test_wrong_flags_of_a_soak(flags: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(flags)
