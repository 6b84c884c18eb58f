"""The figures of precisions: the page shows the committed ones, and they can be measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.precision import measure as module
from benchmarks.precision.__main__ import main
from benchmarks.precision.page import filled
from edge.errors import UsageError
from edge.weights import TINY, shipped
from export.precision import pictures
from tests.export.test_auc import fill
from training.degrade import COLUMNS
from training.degrade.columns import JPEG_75, UNTOUCHED

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "precision.md"
NEWEST = max((ROOT / "benchmarks" / "results").glob("precision_*.json"))


def test_the_page_shows_the_newest_figures() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert filled(PAGE, json.loads(NEWEST.read_text(encoding="utf-8"))) == text


def test_the_figures_are_of_the_shipped_files() -> None:
    rows = json.loads(NEWEST.read_text(encoding="utf-8"))["rows"]
    assert {row["model"] for row in rows} == set(shipped())
    for row in rows:
        name = row["model"] if row["precision"] == "fp32" else f"{row['model']}.{row['precision']}"
        path = shipped()[row["model"]].with_name(f"{name}.onnx")
        assert path.exists() == row["shipped"]
        if row["shipped"]:
            assert path.stat().st_size == row["bytes"]
            assert max(row["lost"].values()) <= 0.005


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shipped", lambda: {TINY: shipped()[TINY]})
    columns = {name: COLUMNS[name] for name in (UNTOUCHED, JPEG_75)}
    monkeypatch.setattr(module, "COLUMNS", columns)
    monkeypatch.setattr(module, "SECONDS", 0.1)
    monkeypatch.setattr(module, "NATIVE_HW", (40, 60))
    monkeypatch.setattr(pictures, "MOST", 2)


@pytest.mark.usefixtures("small")
def test_it_can_be_measured_again(tmp_path: Path) -> None:
    names = {f"0_real/camera/{i}.png": 40 + i for i in range(2)}
    data = fill(tmp_path / "data", names | {f"1_fake/gan/{i}.png": 90 + i for i in range(2)})
    figures, page = tmp_path / "f.json", tmp_path / "p.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    words = [str(data), "--calibration", str(data), "--json", str(figures), "--card", str(page)]
    assert main(words) == 0
    result = json.loads(figures.read_text())
    assert [row["precision"] for row in result["rows"]] == ["fp32", "fp16", "int8"]
    first, half, small = result["rows"]
    assert first["ratio"][0] == 1 and first["max_logit"] == 0 and first["agreement"] == 1
    assert half["shipped"] and not small["shipped"]
    assert set(half["auc"]) == {UNTOUCHED, JPEG_75}
    assert len(result["choices"]) == module.steps() - 3 * 2
    assert f"{TINY} int8 (not shipped)" in page.read_text()
    assert main(["--from", str(figures), "--card", str(page)]) == 0


def test_what_it_is_not_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "expected DATA and --calibration, or --from" in capsys.readouterr().err
    page = tmp_path / "p.md"
    page.write_text("<!-- precision:begin nothing -->\n<!-- precision:end -->\n")
    result = json.loads(NEWEST.read_text(encoding="utf-8"))
    with pytest.raises(UsageError, match=r"expected markers .* found \['nothing'\]"):
        filled(page, result)
    with pytest.raises(UsageError, match="cannot be read"):
        filled(tmp_path / "absent.md", result)
