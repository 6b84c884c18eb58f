"""Sensors: lines in the documented formats, and a sysfs tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.sensors import Reading, parse_tegrastats, read_ina3221, total_mw

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


def channel(folder: Path, number: int, label: str, millivolts: str, milliamperes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"in{number}_label").write_text(label + "\n", encoding="utf-8")
    (folder / f"in{number}_input").write_text(millivolts + "\n", encoding="utf-8")
    (folder / f"curr{number}_input").write_text(f"{milliamperes}\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "load", "mhz", "rail", "temperatures"),
    [
        (ORIN_NANO, 10, (1300,), ("VDD_CPU_GPU_CV", 524), {"soc2": 47.3, "tj": 48.1}),
        (AGX_ORIN, 12, (1300, 1299), ("VDD_GPU_SOC", 3150), {"CPU": 57.2, "GPU": 49.125}),
        (THOR, None, (1000, 1001, 1002), ("VDD_GPU", -392), {"gpu": 41, "tj": 44.5}),
        (NANO, 0, (), ("POM_5V_GPU", 40), {"GPU": 22.5}),
    ],
)
def test_each_board_writes_its_line_in_its_own_way(
    line: str,
    load: float | None,
    mhz: tuple[int, ...],
    rail: tuple[str, int],
    temperatures: dict[str, float],
) -> None:
    reading = parse_tegrastats(line)
    assert (reading.gpu_load_percent, reading.gpu_mhz) == (load, mhz)
    assert rail in reading.rails_mw.items()
    assert temperatures.items() <= reading.temperatures_c.items()
    assert "cv0" not in reading.temperatures_c  # it is off


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
