"""Power: runs with a tegrastats that is a script, or with a sysfs tree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import power
from benchmarks.charts import figure_of
from benchmarks.power import NOT_A_JETSON, PowerSection, render
from benchmarks.section import Plan, Row
from tests.benchmarks.test_sensors import ORIN_NANO, channel


def plan(budget_s: float = 0.0) -> Plan:
    return Plan(quick=True, threads=(1, 2), budget_s={"power": budget_s})


def script(folder: Path, text: str) -> str:
    path = folder / "tegrastats"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "SIZES", ((64, 64),))
    monkeypatch.setattr(power, "FIRST_READING_S", 2.0)


def test_elsewhere_one_row_says_that_it_is_no_jetson(tmp_path: Path) -> None:
    section = PowerSection(tegrastats=str(tmp_path / "absent"), ina3221=tmp_path)
    section.measure(plan(), lambda _: None)
    assert section.rows() == [{"kind": "sensors", "missing": NOT_A_JETSON}]
    rendered = render(section.rows())
    assert NOT_A_JETSON in rendered.markdown and not rendered.figures


def test_a_run_with_tegrastats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "power_mode", lambda: "NV Power Mode: 15W")
    program = script(tmp_path, f"while true; do echo '{ORIN_NANO}'; sleep 0.05; done")
    section = PowerSection(tegrastats=program, ina3221=tmp_path)
    ticks: list[str] = []
    section.measure(plan(8), ticks.append)  # a busy machine may run the program seldom
    assert ticks == ["idle", "64²"]
    rows: list[Row] = json.loads(json.dumps(section.rows()))
    state, idle, load = rows
    assert state["sensors"] == "tegrastats"
    assert idle["mean_power_w"] == pytest.approx(4.891)
    # Energy of a frame: mean power times time over frames.
    frames, elapsed_s = figure_of(load, "frames"), figure_of(load, "elapsed_s")
    assert load["energy_per_frame_mj"] == pytest.approx(4891 * elapsed_s / frames)
    assert load["energy_above_idle_mj"] == pytest.approx(0, abs=1e-9)
    assert load["mean_gpu_load_percent"] == 10 and load["hottest_c"] == 48.1
    rendered = render(rows)
    assert "48.1" in rendered.markdown
    assert "Read from tegrastats. Power mode: NV Power Mode: 15W." in rendered.markdown
    assert rendered.figures["power"].axes[0].get_ylabel() == "energy of a frame (mJ)"


def test_a_run_with_sysfs_alone_that_is_interrupted(tmp_path: Path) -> None:
    channel(tmp_path / "1-0040/hwmon/hwmon3", 1, "VDD_IN", "5000", 1200)
    section = PowerSection(tegrastats=str(tmp_path / "absent"), ina3221=tmp_path)

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        section.measure(plan(0.8), stop)
    state, idle = section.rows()
    assert (state["sensors"], idle["kind"]) == ("ina3221", "idle")
    assert idle["mean_power_w"] == pytest.approx(6.0)
    assert idle["mean_gpu_load_percent"] is None
    render(section.rows())


def test_sensors_that_fall_silent_leave_a_row_for_what_they_missed(tmp_path: Path) -> None:
    section = PowerSection(tegrastats=script(tmp_path, f"echo '{ORIN_NANO}'"), ina3221=tmp_path)
    section.measure(plan(0.8), lambda _: None)
    missed = [row for row in section.rows() if "missing" in row]
    assert missed[-1]["size"] == "64²" and "64²" in render(section.rows()).markdown
