"""Power: lines in the documented formats, a sysfs tree, and a tegrastats that is a script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import power
from benchmarks.charts import figure_of
from benchmarks.power import (
    NOT_A_JETSON,
    PowerSection,
    Reading,
    energy,
    parse_tegrastats,
    power_state,
    read_ina3221,
    render,
    total_mw,
)
from benchmarks.section import Plan, Row

ORIN_NANO = (
    "03-02-2025 10:11:12 RAM 2210/7620MB (lfb 4x4MB) SWAP 12/3810MB (cached 0MB) "
    "CPU [3%@729,0%@729,1%@729,off,off,off] EMC_FREQ 2%@2133 GR3D_FREQ 10%@1300 NVDEC off "
    "APE 200 cpu@48.1C soc2@47.3C gpu@47.6C tj@48.1C cv0@-256C "
    "VDD_IN 4891mW/4850mW VDD_CPU_GPU_CV 524mW/530mW VDD_SOC 1412mW/1400mW"
)
AGX_ORIN = (
    "03-02-2025 10:11:12 RAM 9000/62780MB (lfb 8x4MB) CPU [5%@2201,7%@2201] "
    "GR3D_FREQ 12%@[1300,1299] NVDLA0_FREQ @1600 CPU@57.2C GPU@49.125C "
    "VDD_GPU_SOC 3150mW/2971mW/4000mW VDD_CPU_CV 1431mW/1241mW VIN_SYS_5V0 4968mW/5048mW "
    "VDDQ_VDD2_1V8AO 1091mW/1091mW"
)
THOR = (
    "03-02-2025 10:11:12 RAM 9000/125000MB GR3D_FREQ @[1000,1001,1002] gpu@41C tj@44.5C "
    "VDD_GPU -392mW/-392mW VDD_CPU_SOC_MSS 3924mW/3924mW VIN_SYS_5V0 5096mW/5096mW "
    "VIN 23000mW/23100mW"
)
NANO = (
    "RAM 1/2MB IRAM 0/252kB GR3D_FREQ 0% PMIC@100C GPU@22.5C POM_5V_IN 2532/2698 POM_5V_GPU 40/40"
)


def plan(budget_s: float = 0.0) -> Plan:
    return Plan(quick=True, threads=(1, 2), budget_s={"power": budget_s})


def script(folder: Path, text: str) -> str:
    path = folder / "tegrastats"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def channel(folder: Path, number: int, label: str, millivolts: str, milliamperes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"in{number}_label").write_text(label + "\n", encoding="utf-8")
    (folder / f"in{number}_input").write_text(millivolts + "\n", encoding="utf-8")
    (folder / f"curr{number}_input").write_text(f"{milliamperes}\n", encoding="utf-8")


def test_orin_says_load_and_one_clock() -> None:
    reading = parse_tegrastats(ORIN_NANO)
    assert reading.gpu_load_percent == 10
    assert reading.gpu_mhz == (1300,)
    assert reading.rails_mw == {"VDD_IN": 4891, "VDD_CPU_GPU_CV": 524, "VDD_SOC": 1412}
    assert reading.temperatures_c == {"cpu": 48.1, "soc2": 47.3, "gpu": 47.6, "tj": 48.1}


def test_jetpack_7_says_load_and_a_clock_for_each_cluster() -> None:
    reading = parse_tegrastats(AGX_ORIN)
    assert reading.gpu_load_percent == 12
    assert reading.gpu_mhz == (1300, 1299)
    assert reading.rails_mw["VDD_GPU_SOC"] == 3150
    assert reading.temperatures_c == {"CPU": 57.2, "GPU": 49.125}


def test_thor_says_clocks_without_a_load() -> None:
    reading = parse_tegrastats(THOR)
    assert reading.gpu_load_percent is None
    assert reading.gpu_mhz == (1000, 1001, 1002)
    assert reading.rails_mw["VDD_GPU"] == -392
    assert reading.temperatures_c == {"gpu": 41, "tj": 44.5}


def test_the_first_nano_says_rails_without_a_unit() -> None:
    reading = parse_tegrastats(NANO)
    assert reading.gpu_load_percent == 0
    assert reading.gpu_mhz == ()
    assert reading.rails_mw == {"POM_5V_IN": 2532, "POM_5V_GPU": 40}


def test_another_line_is_an_empty_reading() -> None:
    assert parse_tegrastats("tegrastats: permission denied") == Reading({})


@pytest.mark.parametrize(
    ("line", "expected_mw"),
    [(ORIN_NANO, 4891), (AGX_ORIN, 3150 + 1431 + 4968), (THOR, 23000), (NANO, 2532)],
)
def test_no_rail_is_counted_twice(line: str, expected_mw: float) -> None:
    assert total_mw(parse_tegrastats(line).rails_mw) == expected_mw


def test_a_total_needs_rails() -> None:
    with pytest.raises(ValueError, match="at least one power rail"):
        total_mw({})


def test_sysfs_rails_are_volts_times_amperes(tmp_path: Path) -> None:
    first, second = tmp_path / "1-0040/hwmon/hwmon3", tmp_path / "1-0041/hwmon/hwmon4"
    channel(first, 1, "VDD_GPU_SOC", "843", 6170)
    channel(first, 2, "VDD_CPU_CV", "780", 3400)
    channel(second, 1, "NC", "0", 0)
    channel(second, 2, "VIN_SYS_5V0", "5000", 1000)
    channel(second, 3, "BROKEN", "no number", 1)
    rails = read_ina3221(tmp_path).rails_mw
    assert rails == pytest.approx(
        {"VDD_GPU_SOC": 843 * 6.17, "VDD_CPU_CV": 780 * 3.4, "VIN_SYS_5V0": 5000}
    )


def test_energy_is_power_times_time_over_frames() -> None:
    # 5 W for 2 s are 10 J; 100 frames of 100 mJ, of which 2 W · 2 s / 100 = 40 mJ were idle.
    row = energy(mean_power_w=5, elapsed_s=2, frames=100, idle_w=2)
    assert row == pytest.approx(
        {"model_fps": 50, "energy_per_frame_mj": 100, "energy_above_idle_mj": 60}
    )
    assert "energy_above_idle_mj" not in energy(5, 2, 100, None)


def test_elsewhere_one_row_says_that_it_is_no_jetson(tmp_path: Path) -> None:
    section = PowerSection(tegrastats=str(tmp_path / "absent"), ina3221=tmp_path)
    ticks: list[str] = []
    section.measure(plan(), ticks.append)
    assert section.rows() == [{"kind": "sensors", "missing": NOT_A_JETSON}]
    assert len(ticks) == section.steps(plan()) == 1
    rendered = render(section.rows())
    assert NOT_A_JETSON in rendered.markdown
    assert not rendered.figures


def test_a_run_with_tegrastats(tmp_path: Path) -> None:
    program = script(tmp_path, f"while true; do echo '{ORIN_NANO}'; sleep 0.05; done")
    section = PowerSection(tegrastats=program, ina3221=tmp_path, sizes=((64, 64),))
    ticks: list[str] = []
    section.measure(plan(0.8), ticks.append)
    assert ticks == ["idle", "64²"]
    rows: list[Row] = json.loads(json.dumps(section.rows()))
    state, idle, load = rows
    assert state["sensors"] == "tegrastats"
    assert idle["mean_power_w"] == pytest.approx(4.891)
    frames, elapsed_s = figure_of(load, "frames"), figure_of(load, "elapsed_s")
    assert load["energy_per_frame_mj"] == pytest.approx(4891 * elapsed_s / frames)
    assert load["energy_above_idle_mj"] == pytest.approx(0)
    assert load["mean_gpu_load_percent"] == 10
    assert load["max_temperatures_c"] == {"cpu": 48.1, "soc2": 47.3, "gpu": 47.6, "tj": 48.1}
    rendered = render(rows)
    assert "48.1 °C" in rendered.markdown
    assert rendered.figures["power"].axes[0].get_ylabel() == "energy of a frame (mJ)"


def test_a_run_with_sysfs_alone(tmp_path: Path) -> None:
    channel(tmp_path / "1-0040/hwmon/hwmon3", 1, "VDD_IN", "5000", 1200)
    absent = str(tmp_path / "absent")
    section = PowerSection(tegrastats=absent, ina3221=tmp_path, sizes=((64, 64),))
    section.measure(plan(0.8), lambda _: None)
    state, idle, load = section.rows()
    assert state["sensors"] == "ina3221"
    assert idle["mean_power_w"] == load["mean_power_w"] == pytest.approx(6.0)
    assert "mean_gpu_load_percent" not in load


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    channel(tmp_path / "1-0040/hwmon/hwmon3", 1, "VDD_IN", "5000", 1200)
    absent = str(tmp_path / "absent")
    section = PowerSection(tegrastats=absent, ina3221=tmp_path, sizes=((64, 64),))

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        section.measure(plan(0.8), stop)
    assert [row["kind"] for row in section.rows()] == ["state", "idle"]
    render(section.rows())


def test_a_meter_that_falls_silent_leaves_a_row_for_what_it_missed(tmp_path: Path) -> None:
    program = script(tmp_path, f"echo '{ORIN_NANO}'")
    section = PowerSection(tegrastats=program, ina3221=tmp_path, sizes=((64, 64),))
    section.measure(plan(0.8), lambda _: None)
    missed = [row for row in section.rows() if "missing" in row]
    assert [row["size"] for row in missed][-1] == "64²"
    assert "64²" in render(section.rows()).markdown


def test_a_silent_tegrastats_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "FIRST_READING_S", 0.2)
    program = script(tmp_path, "echo 'RAM 1/2MB GR3D_FREQ 0%@1300'")
    section = PowerSection(tegrastats=program, ina3221=tmp_path)
    section.measure(plan(), lambda _: None)
    (row,) = section.rows()
    assert "no power rail" in str(row["missing"])


def test_the_power_mode_and_the_clock_bounds_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvpmodel"
    program.write_text('#!/bin/sh\n[ "$1" = -q ] && printf "NV Power Mode: 15W\\n0\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for bound in ("min", "max"):
        (tmp_path / f"scaling_{bound}_freq").write_text("1728000\n", encoding="utf-8")
    state = power_state(tmp_path)
    assert state == {
        "kind": "state",
        "nvpmodel": "NV Power Mode: 15W\n0",
        "cpu_min_mhz": 1728.0,
        "cpu_max_mhz": 1728.0,
    }
    text = render([state | {"sensors": "tegrastats"}]).markdown
    assert "NV Power Mode: 15W / 0" in text
    assert "CPU clock pinned" in text
